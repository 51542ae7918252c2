"""Labels of time series, of which there may only be so many, from names, of which there may be any number."""

LIMIT = 100  # variants of a study that have series of their own: more than a person tells apart in a chart
OTHERS = "others"


class Labels:
    """The first names as they are, and one label for all that come after them.

    Args:
        limit: names that have a label of their own.

    >>> labels = Labels(limit=2)
    >>> [labels.of(name) for name in ("a", "b", "c", "a", "d")]
    ['a', 'b', 'others', 'a', 'others']
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._known = limit, set[str]()

    def of(self, name: str) -> str:
        """The label of a name, the same for the rest of the run."""
        if name not in self._known and len(self._known) == self._limit:
            return OTHERS
        self._known.add(name)
        return name
