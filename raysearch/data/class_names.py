"""One class, several spellings: a list's names are matched with those that a data set has on disk.

Data sets write "001.Black_footed_Albatross", "n02085620-Chihuahua" or "Ram C-V Cargo Van Minivan 2012", and lists write
the same classes without the number, by the WordNet id alone, or with the slash that no folder may have. Names are
compared in four ways, the strictest first; a way counts where it means one class on either side and no more:

1. letter for letter;
2. letters and digits only, in lower case;
3. the same without a leading number ("001.") or WordNet id ("n02085620-");
4. the WordNet id alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

WORDNET = re.compile(r"n\d{8}(?!\d)")
_PREFIX = re.compile(r"(n\d{8}|\d{1,4})[\W_]+(?=.*[^\W\d_])")  # before something that has a letter


def match(names: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """Name of the list -> class of the data set, of those that agree in one of the four ways.

    >>> match(["Chihuahua", "n02085782", "Ram C/V Van"], ["n02085620-Chihuahua", "n02085782-spaniel", "Ram C-V Van"])
    {'Ram C/V Van': 'Ram C-V Van', 'Chihuahua': 'n02085620-Chihuahua', 'n02085782': 'n02085782-spaniel'}
    """
    found: dict[str, str] = {}
    wanted, there = dict.fromkeys(names), dict.fromkeys(classes)
    for way in (_exact, _plain, _bare, _wordnet):
        for name, label in _pairs(way, wanted, there):
            found[name] = label
            del wanted[name], there[label]
    return found


def _pairs(way: Callable[[str], str], names: Iterable[str], classes: Iterable[str]) -> list[tuple[str, str]]:
    ours, theirs = ({name: way(name) for name in side} for side in (names, classes))
    once = [Counter(forms.values()) for forms in (ours, theirs)]
    of = {form: label for label, form in theirs.items()}
    return [(name, of[form]) for name, form in ours.items() if form and once[0][form] == once[1][form] == 1]


def _exact(name: str) -> str:
    return name


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _bare(name: str) -> str:
    return _plain(_PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name)


def _wordnet(name: str) -> str:
    found = WORDNET.match(name)
    return found[0] if found else ""
