"""The cost of a study, and each variant's share: machines are paid by the hour, and cells share them by seconds."""

from dashboards.ablation.view import View
from raysearch.runs import CostRecord


def cost_facts(cost: CostRecord) -> list[tuple[str, str]]:
    """Return (term, value) about the cost of a whole study; nothing if no machine has a price.

    >>> cost_facts(CostRecord(dollars=3.2, node_hours={"g6.2xlarge spot": 2.5}))
    [('Machines', '$3.20'), ('Machine hours', 'g6.2xlarge spot 2.5')]
    """
    if cost.dollars is None:
        return []
    hours = ", ".join(f"{machine} {value:.2g}" for machine, value in cost.node_hours.items())
    return [("Machines", dollars(cost.dollars)), *([("Machine hours", hours)] if hours else [])]


def cost_by_variant(run: View) -> dict[str, float]:
    """Return variant -> dollars; empty if no machine has a price. Idle time is shared among the variants too."""
    total = run.study.cost.dollars
    seconds = {variant.name: sum(row.get("seconds") or 0.0 for row in variant.rows) for variant in run.variants}
    all_seconds = sum(seconds.values())
    if total is None or not all_seconds:
        return {}
    return {name: total * share / all_seconds for name, share in seconds.items()}


def dollars(value: float) -> str:
    """Return an amount of money as text.

    >>> dollars(0.004), dollars(12.5), dollars(1234.0)
    ('$0.004', '$12.50', '$1,234')
    """
    if 0 < value < 0.1:
        return f"${value:.1g}"
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
