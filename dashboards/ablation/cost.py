"""What a study cost, and each variant's share: machines are paid for by the hour, cells share them by their seconds."""

from dashboards.ablation.view import View
from raysearch.runs.study_record import CostRecord


def facts(cost: CostRecord) -> list[tuple[str, str]]:
    """What to tell of a whole study; nothing where no machine had a price.

    >>> facts(CostRecord(dollars=3.2, node_hours={"g6.2xlarge spot": 2.5}))
    [('Machines', '$3.20'), ('Hours of machines', 'g6.2xlarge spot 2.5')]
    """
    if cost.dollars is None:
        return []
    hours = ", ".join(f"{name} {value:.2g}" for name, value in cost.node_hours.items())
    return [("Machines", dollars(cost.dollars)), *([("Hours of machines", hours)] if hours else [])]


def shares(run: View) -> dict[str, float]:
    """Variant -> its dollars; empty where no machine had a price. All time that machines waited is shared out too."""
    whole = run.study.cost.dollars
    seconds = {one.name: sum(row.get("seconds") or 0.0 for row in one.rows) for one in run.variants}
    total = sum(seconds.values())
    return {name: whole * own / total for name, own in seconds.items()} if whole is not None and total else {}


def dollars(value: float) -> str:
    """
    >>> dollars(0.004), dollars(12.5), dollars(1234.0)
    ('$0.004', '$12.50', '$1,234')
    """
    if 0 < value < 0.1:
        return f"${value:.1g}"
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
