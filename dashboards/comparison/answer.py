"""What a comparison of runs found, in a sentence; honest where nothing was decided."""

from dashboards.comparison.view import SAME_CELLS, Comparison, Match
from dashboards.html.formats import count, interval, listed, metric_name, signed


def sentence(shown: Comparison) -> str:
    """The answer of a comparison.

    What was decided comes first; "nothing was decided" says how large an effect could have gone unseen.
    """
    found = list(shown.matches)
    if not found:
        return f"Nothing to compare: no variant of {shown.first} has its name or its config in another run."
    tested = [one for one in found if one.difference.low is not None]
    same = [one for one in found if one.verdict == SAME_CELLS]
    decided = sorted(
        (one for one in tested if one.verdict in ("better", "worse")), key=lambda one: -abs(one.difference.delta or 0.0)
    )
    rest = _rest(len(tested) - len(decided), len(found) - len(tested) - len(same), len(same))
    name = metric_name(shown.one.metric)
    if decided:
        kinds = {verdict: [one for one in decided if one.verdict == verdict] for verdict in ("better", "worse")}
        words = [
            f"decided {verdict} than in {shown.first}: {listed([_words(shown, one) for one in members], most=4)} {name}"
            for verdict, members in kinds.items()
            if members
        ]
        text = "; ".join(words)
        return f"{text[:1].upper()}{text[1:]}{rest}."
    if tested:
        widest = max(tested, key=lambda one: abs(one.difference.delta or 0.0))
        return f"Nothing was decided; the largest difference is {_words(shown, widest)} {name}{rest}."
    if same:
        return f"Nothing differs: what the runs have in common are the same cells{_rest(0, len(found) - len(same), 0)}."
    return f"No answer yet: no difference has an interval, which needs three seeds in both runs{rest}."


def _words(shown: Comparison, one: Match) -> str:
    where = f" in {one.run}" if len(shown.runs) > 2 else ""
    found = one.difference
    return f"{one.label}{where} {signed(found.delta)} {interval(found.low, found.high, sign=True)}"


def _rest(undecided: int, without: int, same: int) -> str:
    words = [f"{count(undecided, 'difference')} undecided"] if undecided else []
    words += [f"{count(without, 'difference')} without an interval"] if without else []
    words += [f"{count(same, 'variant')} with the same cells in both"] if same else []
    return f"; {listed(words)}" if words else ""
