"""Names that numbers of a user's task cannot have, since the results record something else under them."""

from collections.abc import Collection

from raysearch.core import UserError

STEP_NUMBERS = ("iteration", "phase", "epochs", "seconds")  # that the engine records of each step
TIMES = ("epoch_seconds", "seconds", "gpu_seconds")  # that the engine measures of each cell; studies may compare them
RECORDED = frozenset(
    {
        *STEP_NUMBERS,
        *TIMES,
        *("study", "variant", "stage", "cell", "seed", "status", "error", "config", "data", "device", "environment"),
        *("attempts", "code_version", "history", "metric_ids", "metric_steps", "by_radius"),
    }
)


def check_name(name: str, where: str) -> None:
    """Check that a number can have a name.

    Args:
        name: of the number.
        where: the call or the field that gave it, for the message.

    Raises:
        UserError: it is in `RECORDED`.
    """
    if name in RECORDED:
        raise UserError(f"{where}: raysearch records '{name}' itself; choose another name, such as 'my_{name}'")


def check_no_setting(names: Collection[str], settings: Collection[str], where: str) -> None:
    """Check that no metric has the name of a setting, whose level would be lost in the results.

    Args:
        names: of the metrics.
        settings: dotted paths of the config.
        where: the call or the field that gave the metrics, for the message.

    Raises:
        UserError: a metric has one.
    """
    for name in names:
        if name in settings:
            raise UserError(f"{where}: '{name}' is a setting of the run; choose another name for the metric")
