"""The section that explains how each number on the page is computed."""

from dashboards.ablation.view import View
from dashboards.html import Section, formats, page_parts

_TERMS = {
    "Cell, variant, seed": "A variant is one setting of the factors. A cell is a variant trained with one seed. All "
    "variants use the same seeds, and a seed draws the same samples for all of them.",
    "Mean and interval": "The mean over the finished cells, with Student's t interval at 95 %. The interval shows "
    "the spread of seeds, not the difference between variants.",
    "Difference": "The variant's metric minus the reference's with the same seed, averaged over the seeds that both "
    "finished, with Student's t interval at 95 %. An effect that a seed has on all variants cancels out.",
    "p (Holm)": "The p-value of the two-sided paired t-test, corrected by Holm over all comparisons of the study. If "
    "no difference were real, at most one study in twenty would decide anything.",
    "Step of the metric": "A mean over n test items changes in steps of 1 / n. Rounding to steps adds a variance of "
    "1 / (6 n\N{SUPERSCRIPT TWO}) to a difference. Intervals and p-values include it, because a few rounded numbers "
    "may show less spread than there is.",
    "No interval": "The variant and the reference share fewer than three seeds, or their difference is the same with "
    "every seed. With two seeds, a single lucky one decides the width of the interval and whether it contains zero. "
    "Equal differences do not show how far another seed may be. So the report gives neither interval nor verdict.",
    "Better, worse": "The difference is significant: p (Holm) is at most 0.05. An undecided difference may still "
    "exist: its interval shows the possible effects. Holm's correction is stricter than a single interval. So a "
    "difference can be undecided although its interval excludes zero.",
    "Failed, stopped, not run": "Cells without a number. The report counts them and replaces none. A variant that "
    "fails with the harder seeds looks better than it is.",
    "Time per cell, epochs": "Means over the finished cells of the variant.",
    "GPU-hours": "The sum over all cells of the variant, including failed ones.",
}
_WITHIN = "Within margin"
_LOOKS = {
    "Look": "A number of seeds at which the study is judged, declared before its first cell. A look uses the cells of "
    "its own seeds, whatever ran early. Only variants that are undecided, and their references, get more seeds.",
    "Difference": "The variant's metric minus the reference's with the same seed, averaged over the seeds of the look "
    "that both finished. The look shown is the one that decided the variant, or the last one so far.",
    "Mean and interval": "Student's t intervals over seeds. Look k has n_k of n_K seeds, and its intervals have level "
    "1 \N{MINUS SIGN} 0.05 w, with w = (n_k / n_K)\N{SUPERSCRIPT TWO} \N{MINUS SIGN} (n_(k-1) / "
    "n_K)\N{SUPERSCRIPT TWO}. The intervals of a difference hold at all looks together in 95 % of studies.",
    "p (looks, Holm)": "The smallest p / w over the looks so far, where p is of the two-sided paired t-test of a look. "
    "It is corrected by Holm over all comparisons of the study. If no difference were real, at most one study in "
    "twenty would decide anything, at whichever look.",
    _WITHIN: "The interval is inside the margin: there is no difference that matters.",
    "Saved": "Cells up to the last look that a variant did not need, since an earlier look decided it.",
}
_SKEWED = (
    "Shown where differences are skewed: the sample skewness is larger than that of normal samples, at a level of 5 %, "
    "corrected by Holm over the comparisons. The t-test may be wrong there. The sign-flip test counts the flips of "
    "signs whose mean is as large as the measured one. It needs no normal distribution, but is exact only if variant "
    "and reference are exchangeable within a seed. It is corrected as the t-test is, and needs enough seeds: n seeds "
    "give no p-value below 2^(1 \N{MINUS SIGN} n)."
)
_PUBLISHED = (
    "The paper's number at these levels. Sizes in pixels are matched as declared for an image of 224 px. Data, network "
    "and schedule may differ. Same protocol: whether data set, backbone, image side, pretrained or random weights, and "
    "metric are the paper's. Schedules are not compared, because papers describe them incompletely."
)
_TIES = {
    "expected-ties": "the expected value over all orders of items at equal Hamming distance",
    "index-order": "items at equal Hamming distance in the order in which they are stored",
}
_DIRECTIONS = {"max": "Higher is better.", "min": "Lower is better."}
_QUERIES = {
    "test": "Queries are the test split, which chooses nothing.",
    "validation": "Queries are a part of each class that was held out of train. It may choose configs, but supports no "
    "claim.",
}
_EPISODES = (
    "The share of queries that are assigned their own class, averaged over episodes. An episode draws classes and "
    "images. Its seed and number determine it, so all variants see the same episodes. The id contains the split's name "
    "and the beginning of its hash: numbers of other splits are not comparable."
)
_CLASSES = {
    "test": "Episodes use the test classes, which choose nothing.",
    "validation": "Episodes use the validation classes. They may choose configs, but support no claim.",
}


def definitions(run: View) -> Section:
    """Return the section with the terms that this run's page uses."""
    terms = {formats.metric_name(run.metric): metric(run), **_rule_terms(run)} | (
        {"Published": _PUBLISHED} if run.published else {}
    )
    return page_parts.definitions(terms)


def _rule_terms(run: View) -> dict[str, str]:
    """Return the terms of the page, with those of looks in the place of those of a single plan."""
    skewed = {"p (sign flips)": _SKEWED} if run.skewed else {}
    if not run.study.looks:
        return _TERMS | skewed
    left_out = ["p (Holm)", *([] if run.study.margin is not None else [_WITHIN])]
    return {term: text for term, text in (_TERMS | _LOOKS | skewed).items() if term not in left_out}


def _divisor(cut: str, over_found: bool) -> str:
    """Return how mAP over the first `cut` items is normalized: by the best list, or as most published programs do."""
    if over_found:
        return (
            f"The sum of precisions is divided by the relevant items among the first {cut}, as most published programs "
            "do. A query without one there counts as 0."
        )
    return (
        f"The sum of precisions is divided by the smaller of {cut} and the number of relevant items. A query without a "
        "relevant item counts as 0. Most published programs divide by the relevant items among the first "
        f"{cut}, as `map_at_{cut}_found` does, and give larger numbers."
    )


def metric(run: View) -> str:
    """Return the meaning of the metric's id. A user's own task computes its metrics in its own way."""
    if run.study.code:
        return f"{run.metric_id}: a number that the task returns. {_DIRECTIONS[run.mode]}"
    name, *parts = run.metric_id.split("/")
    sentences = [f"{run.metric_id}."]
    if name.startswith("map@"):
        cut, _, over_found = name.removeprefix("map@").partition("-")
        scope = "the whole ranking" if cut == "all" else f"the first {cut} of the ranking"
        sentences.append(f"Mean average precision over {scope} of the database by Hamming distance to each query.")
        if cut != "all":
            sentences.append(_divisor(cut, over_found == "over-found"))
    if name.startswith("accuracy@"):
        sentences.append(_EPISODES)
    sentences += [f"Ties: {_TIES[part]}." for part in parts if part in _TIES]
    explanations = _CLASSES if name.startswith("accuracy@") else _QUERIES
    sentences += [explanations[part] for part in parts if part in explanations]
    sentences.append(_DIRECTIONS[run.mode])
    chance = run.study.chance
    if isinstance(chance, int | float):
        sentences.append(f"A random guess scores {formats.metric(chance)}.")
    return " ".join(sentences)
