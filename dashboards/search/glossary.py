"""The part of a search's page that says in plain words how each of its numbers is computed."""

from dashboards.html.markup import Section, section, tag
from dashboards.search.view import SearchView

_TERMS = {
    "Trial, config": "A config is what the sampler suggested; its trial trains it with every tuning seed.",
    "Stopped early": "The scheduler ended the config before its last iteration because others did better by then.",
    "Fresh seeds": "Seeds that no config was tuned with. The best of many configs is partly lucky with the seeds that "
    "chose it; on fresh seeds that luck is gone, so only they support a claim.",
    "Difference": "The best config's metric less the reference's with the same seed, averaged, with Student's t "
    "interval at 95 %.",
    "Decided": "p (Holm), of the two-sided paired t-test corrected over the groups, is at most 0.05.",
    "Importance": "Optuna's: the share of a parameter in what sets the good configs apart from the rest, by "
    "PED-ANOVA. Parameters that not every config has are left out.",
}


def definitions(run: SearchView) -> Section:
    """The terms of this search's page."""
    terms = {"Chosen by": f"{_metrics(run)}. The test split chose nothing.", **_TERMS}
    listed = [tag("div", tag("dt", term), tag("dd", text)) for term, text in terms.items()]
    return section("definitions", "How the numbers are computed", tag("dl", *listed, class_="listing"))


def _metrics(run: SearchView) -> str:
    words = {"max": "higher is better", "min": "lower is better"}
    return "; ".join(f"{run.ids.get(metric, metric)}, {words[run.modes[metric]]}" for metric in run.metrics)
