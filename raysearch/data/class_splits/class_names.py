"""Match the class names of a list with the spellings that a data set has on disk.

Data sets write "001.Black_footed_Albatross", "n02085620-Chihuahua" or "Ram C-V Cargo Van Minivan 2012". Lists write the
same classes without the number, by the WordNet id or the number alone, or with a slash, which no folder may have. Names
are compared in five ways, the strictest first. A match counts only if it is unique on either side:

1. letter for letter, in Unicode's composed form;
2. letters and digits only, in lower case;
3. the same without a leading number ("001.") or WordNet id ("n02085620-");
4. the WordNet id alone;
5. the number alone ("0817"), if the list has nothing else.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

WORDNET = re.compile(r"n[0-9]{8}(?![0-9])")
_PREFIX = re.compile(r"(n[0-9]{8}|[0-9]{1,4})[\W_]+(?=.*[^\W\d_])")  # followed by something with a letter


def match_class_names(names: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """Return name in the list -> class of the data set, for those that match in one of the five ways.

    >>> classes = ["n02085620-Chihuahua", "n02085782-spaniel", "Ram C-V Van"]
    >>> match_class_names(["Chihuahua", "n02085782", "Ram C/V Van"], classes)
    {'Ram C/V Van': 'Ram C-V Van', 'Chihuahua': 'n02085620-Chihuahua', 'n02085782': 'n02085782-spaniel'}
    """
    matched: dict[str, str] = {}
    unmatched_names = dict.fromkeys(names)
    unmatched_classes = dict.fromkeys(classes)
    same_form = ((form, form) for form in (_exact, _plain, _without_prefix, _wordnet_id))
    for name_form, class_form in (*same_form, (_whole_number, _leading_number)):
        for name, label in _unique_pairs(name_form, class_form, unmatched_names, unmatched_classes):
            matched[name] = label
            del unmatched_names[name]
            del unmatched_classes[label]
    return matched


def _unique_pairs(
    name_form: Callable[[str], str], class_form: Callable[[str], str], names: Iterable[str], classes: Iterable[str]
) -> list[tuple[str, str]]:
    form_of_name = {name: name_form(name) for name in names}
    form_of_class = {label: class_form(label) for label in classes}
    name_uses = Counter(form_of_name.values())
    class_uses = Counter(form_of_class.values())
    class_of_form = {form: label for label, form in form_of_class.items()}
    return [
        (name, class_of_form[form])
        for name, form in form_of_name.items()
        if form and name_uses[form] == class_uses[form] == 1
    ]


def _exact(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name).casefold())


def _without_prefix(name: str) -> str:
    return _plain(_PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name)


def _wordnet_id(name: str) -> str:
    match = WORDNET.match(name)
    return match[0] if match else ""


def _whole_number(name: str) -> str:
    return name if re.fullmatch(r"[0-9]{1,4}", name) else ""


def _leading_number(name: str) -> str:
    match = re.match(r"([0-9]{1,4})\.", name)
    return match[1] if match else ""
