"""The part of the page that says in plain words how each of its numbers is computed."""

from dashboards.ablation.view import View
from dashboards.html import formats
from dashboards.html.markup import Section, section, tag

_TERMS = {
    "Cell, variant, seed": "A variant is one setting of the factors, a cell a variant trained with one seed. Every "
    "variant meets the same seeds, and a seed draws the same samples for all of them.",
    "Mean and interval": "The mean over the finished cells with Student's t interval at 95 %. It says how far seeds "
    "scatter, not how variants differ.",
    "Difference": "A variant's metric less the reference's with the same seed, averaged over the seeds that both "
    "finished, with Student's t interval at 95 %. What a seed does to all variants alike cancels out.",
    "p (Holm)": "Of the two-sided paired t-test, corrected by Holm over all comparisons of the table: were there no "
    "true difference anywhere, at most one study in twenty would decide anything.",
    "No interval": "Fewer than three seeds in common. With two, one lucky seed decides how wide an interval is, and "
    "whether it leaves zero out; so interval and verdict are refused.",
    "Decided": "p (Holm) is at most 0.05. An undecided difference is not shown to be zero: its interval says which "
    "effects remain possible. Holm asks for more than a single interval does, so an interval may leave zero out and "
    "the difference still be undecided.",
    "Failed, stopped, not run": "Cells without a number. They are counted and never replaced; a variant that fails "
    "with the harder seeds looks better than it is.",
    "Time a cell, epochs": "What a finished cell took, averaged over its variant's.",
    "GPU-hours": "Of all cells of the variant together, the failed ones too.",
}
_PUBLISHED = (
    "What the paper prints for these levels. Sizes in pixels are matched as declared for an image of 224 px; data, "
    "network and schedule may be others. Same protocol: whether data set, backbone, image side, pretrained or random "
    "weights, and metric are the paper's; schedules are not compared, since papers leave too much of theirs open."
)
_TIES = {
    "expected-ties": "the expected value over all orders of items at equal Hamming distance",
    "index-order": "items at equal Hamming distance in the order they are stored",
}
_QUERIES = {
    "test": "Queries are the test split, which chose nothing.",
    "validation": "Queries are a part of each class that was held out of train: it may choose, and judges nothing.",
}
_EPISODES = (
    "The share of queries that get the name of their class, averaged over episodes. An episode draws classes and "
    "images; episodes are fixed by their seed and number, so every variant meets the same ones. The id carries the "
    "split's name and the beginning of its hash: numbers of other splits are not comparable."
)
_CLASSES = {
    "test": "Episodes are of the test classes, which chose nothing.",
    "validation": "Episodes are of the validation classes: they may choose, and judge nothing.",
}


def definitions(run: View) -> Section:
    """The terms of this run's page."""
    terms = {formats.metric_name(run.metric): metric(run), **_TERMS} | (
        {"Published": _PUBLISHED} if run.published else {}
    )
    listed = [tag("div", tag("dt", name), tag("dd", text)) for name, text in terms.items()]
    return section("definitions", "How the numbers are computed", tag("dl", *listed, class_="listing"))


def metric(run: View) -> str:
    """What the metric's id says, in words."""
    name, *parts = run.metric_id.split("/")
    words = [f"{run.metric_id}."]
    if name.startswith("map@"):
        scope = "the whole ranking" if name == "map@all" else f"the first {name.removeprefix('map@')} of the ranking"
        words.append(f"Mean average precision over {scope} of the database by Hamming distance to each query.")
    if name.startswith("accuracy@"):
        words.append(_EPISODES)
    words += [f"Ties: {_TIES[part]}." for part in parts if part in _TIES]
    asked = _CLASSES if name.startswith("accuracy@") else _QUERIES
    words += [asked[part] for part in parts if part in asked]
    words.append("Higher is better." if run.mode == "max" else "Lower is better.")
    chance = run.study.chance
    if isinstance(chance, int | float):
        words.append(f"Chance alone would score {formats.metric(chance)}.")
    return " ".join(words)
