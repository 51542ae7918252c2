"""One class, several spellings: a list's names are matched with those that a data set has on disk.

Data sets write "001.Black_footed_Albatross", "n02085620-Chihuahua" or "Ram C-V Cargo Van Minivan 2012", and lists write
the same classes without the number, by the WordNet id or the number alone, or with the slash that no folder may have.
Names are compared in five ways, the strictest first; a way counts where it means one class on either side and no more:

1. letter for letter;
2. letters and digits only, in lower case;
3. the same without a leading number ("001.") or WordNet id ("n02085620-");
4. the WordNet id alone;
5. the number alone ("0817"), where the list has nothing else.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

WORDNET = re.compile(r"n\d{8}(?!\d)")
_PREFIX = re.compile(r"(n\d{8}|\d{1,4})[\W_]+(?=.*[^\W\d_])")  # before something that has a letter


def match_class_names(names: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """Name of the list -> class of the data set, of those that agree in one of the five ways.

    >>> classes = ["n02085620-Chihuahua", "n02085782-spaniel", "Ram C-V Van"]
    >>> match_class_names(["Chihuahua", "n02085782", "Ram C/V Van"], classes)
    {'Ram C/V Van': 'Ram C-V Van', 'Chihuahua': 'n02085620-Chihuahua', 'n02085782': 'n02085782-spaniel'}
    """
    found: dict[str, str] = {}
    wanted, there = dict.fromkeys(names), dict.fromkeys(classes)
    alike = ((way, way) for way in (_exact, _plain, _bare, _wordnet))
    for ours, theirs in (*alike, (_all_number, _number)):
        for name, label in _pairs(ours, theirs, wanted, there):
            found[name] = label
            del wanted[name], there[label]
    return found


def _pairs(
    of_name: Callable[[str], str], of_class: Callable[[str], str], names: Iterable[str], classes: Iterable[str]
) -> list[tuple[str, str]]:
    ours, theirs = {name: of_name(name) for name in names}, {label: of_class(label) for label in classes}
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


def _all_number(name: str) -> str:
    return name if re.fullmatch(r"\d{1,4}", name) else ""


def _number(name: str) -> str:
    found = re.match(r"(\d{1,4})\.", name)
    return found[1] if found else ""
