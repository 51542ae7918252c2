"""The exact definition of each metric of a run, and of those of the built-in tasks.

Studies are checked and planned with these, so this module imports no torch.
"""

from raysearch.studies.configs import TASKS, FewshotConfig, PretrainRunConfig, RetrievalConfig, RunConfig
from raysearch.studies.configs.user.metrics import USER_METRICS, UserMetric

RADIUS = 2  # of a hash lookup, as in the literature
CUT = 100  # of a ranking
# Of pre-training: ways (all where there are fewer), shots, queries per class, and number of validation episodes
VALIDATION_EPISODES = (5, 1, 15, 200)
RETRIEVAL = {
    "map": "map@all/expected-ties/test",
    "map_index": "map@all/index-order/test",
    "map_best_ties": "map@all/relevant-first/test",
    "map_worst_ties": "map@all/relevant-last/test",
    "map_at_100": f"map@{CUT}/expected-ties/test",
    "map_at_100_found": f"map@{CUT}-over-found/expected-ties/test",
    "r_precision": "r-precision/expected-ties/test",
    "lookup_success": f"lookup-success/radius-{RADIUS}/test",
    "map_validation": "map@all/expected-ties/validation",  # where data.validation holds a part out
    "codes_per_class": "distinct-codes-of-a-class/mean/database",
    "class_codes": "distinct-class-codes/database",
    "class_distance": "bits-between-class-codes/least/database",
    "mean_class_distance": "bits-to-the-nearest-class-code/mean/database",
}


def metric_ids(config: RunConfig, split: str) -> dict[str, str]:
    """Return the exact definition of each metric of a run.

    Args:
        config: the config of the run.
        split: name and hash of its class-disjoint split; empty where it has none.
    """
    ids: dict[str, str] = TASKS[config.task].load_metric_ids()(config, split)
    return ids


def retrieval(config: RetrievalConfig, split: str) -> dict[str, str]:
    """Return the exact definition of each metric: those that every retrieval run has, and the user's."""
    return {**RETRIEVAL, **{metric.name: metric.metric_id for metric in user_metrics(config)}}


def user_metrics(config: RetrievalConfig) -> list[UserMetric]:
    """Return the user's metrics that a config names."""
    return [USER_METRICS[name] for name in config.evaluation.metrics]


def fewshot(config: FewshotConfig, split: str) -> dict[str, str]:
    """Return the exact definition of each metric of a few-shot run.

    Args:
        config: the config of the run.
        split: name and hash of its class-disjoint split.
    """
    episodes = config.episodes
    name = f"accuracy@{episodes.ways}-way-{episodes.shots}-shot-{episodes.queries}-query"
    test = f"{episodes.test}-episodes-of-seed-{episodes.seed}/{split}/test"
    return {
        "accuracy": f"{name}/{test}",
        "accuracy_ci": f"half-width-of-{name}/{test}",
        "accuracy_validation": f"{name}/{episodes.validation}-episodes-of-seed-{episodes.seed}/{split}/validation",
    }


def pretraining(config: PretrainRunConfig, split: str) -> dict[str, str]:
    """Return the exact definition of each metric of a pre-training.

    Args:
        config: the config of the run.
        split: name and hash of its class-disjoint split.
    """
    ways, shots, _, count = VALIDATION_EPISODES
    name = f"nearest-centroid-accuracy@{ways}-or-all-ways-{shots}-shot"
    return {
        "accuracy_validation": f"{name}/{count}-episodes/{split}/validation",
        "accuracy_validation_ci": f"half-width-of-{name}/{count}-episodes/{split}/validation",
    }
