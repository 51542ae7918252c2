"""What a search learned from other runs, in words for the terminal, the report and the dry run."""

from raysearch.runs.study_record import LearnedRecord

_MOST_RUNS = 3


def describe_learned(learned: LearnedRecord) -> str:
    """Return what was learned and from where, and what was left out; empty if there was nothing to learn from.

    >>> describe_learned(LearnedRecord(configs=2, first=1, runs={"runs/a": 3}, left_out={"outside the space": 4}))
    'learned from 2 configs, 3 cells of runs/a; 1 of them is tried first; left out: 4 cells outside the space'
    """
    if not learned.configs and not learned.left_out:
        return ""
    parts = []
    if learned.configs:
        sources = [f"{_count(cells, 'cell')} of {run}" for run, cells in learned.runs.items()]
        more = [f"those of {len(sources) - _MOST_RUNS} more runs"] if len(sources) > _MOST_RUNS else []
        listed = " and ".join([*sources[:_MOST_RUNS], *more])
        parts.append(f"learned from {_count(learned.configs, 'config')}, {listed}")
    else:
        parts.append("learned from no cell of other runs")
    if learned.first:
        parts.append(f"{learned.first} of them {'is' if learned.first == 1 else 'are'} tried first")
    if learned.left_out:
        reasons = ", ".join(f"{_count(cells, 'cell')} {reason}" for reason, cells in learned.left_out.items())
        parts.append(f"left out: {reasons}")
    return (f"{learned.group}: " if learned.group else "") + "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
