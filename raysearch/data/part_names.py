"""Names of folders and columns that are no classes: parts of a data set, and kinds of files.

"Train", "TRAINING", "val_images", "train2017" and "meta-test" all name a part of a data set.

The words are those of Hugging Face's `datasets`. A folder names a part by one such word. Numbers and neutral words
beside it do not matter, and neither does a word that all parts share, such as the `cars` of `cars_train/` and
`cars_test/`. So "test tubes" beside "gloves" is a class.
"""

import re
from collections.abc import Iterable, Mapping

from raysearch.core import UserError

PARTS = ("train", "val", "test")
PART_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trainset", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "tst", "eval", "evaluation"), "test"),
}
NEUTRAL_WORDS = frozenset(
    {"data", "dataset", "image", "images", "img", "imgs", "jpegimages", "jpg", "jpeg", "photos", "pictures", "png"}
    | {"set", "split", "subset"}
)

ANNOTATION_WORDS = frozenset(
    {"annotation", "annotations", "bbox", "bboxes", "groundtruth", "gt", "label", "labels", "mask", "masks"}
    | {"segmentation", "segmentations", "segmentationclass", "segmentationobject", "imagesets", "thumbnails", "thumbs"}
)


def words_of(name: str) -> list[str]:
    """Return the words of a file's or folder's name in lower case, without numbers.

    >>> words_of("Train_Images-2017"), words_of("valSet"), words_of("TESTING")
    (['train', 'images'], ['val', 'set'], ['testing'])
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W\d_]+", spaced.casefold()) if word]


def parse_part(name: str) -> str:
    """Return the part that a cell of a list names, or "" if it names none.

    >>> [parse_part(name) for name in ("Train", "TRAINING", "dev", "valid", "tets")]
    ['train', 'train', 'val', 'val', '']
    """
    return PART_WORDS.get(name.strip().casefold(), "")


def name_parts(names: Iterable[str]) -> dict[str, str]:
    """Return name -> part of the files or folders, among those beside each other, that are parts of one data set.

    Args:
        names: of files without their endings, or of folders.

    Raises:
        UserError: two of them name the same part.

    >>> name_parts(["train2017", "val2017", "annotations"]), name_parts(["cars_train", "cars_test", "devkit"])
    ({'train2017': 'train', 'val2017': 'val'}, {'cars_train': 'train', 'cars_test': 'test'})
    >>> name_parts(["test tubes", "gloves"]), name_parts(["train", "val", "test", "val_pre", "test_pre"])
    ({}, {'train': 'train', 'val': 'val', 'test': 'test'})
    """
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = words_of(name)
        parts = {PART_WORDS[word] for word in words if word in PART_WORDS}
        if len(parts) == 1:
            rest = tuple(word for word in words if word not in PART_WORDS and word not in NEUTRAL_WORDS)
            groups.setdefault(rest, {})[name] = parts.pop()
    plain = groups.pop((), None)
    shared = [group for group in groups.values() if len(set(group.values())) > 1]
    named_parts = plain or (shared[0] if len(shared) == 1 else {})
    first: dict[str, str] = {}
    for name, part in named_parts.items():
        if (other := first.setdefault(part, name)) != name:
            raise UserError(f"{other} and {name} both name the {part} part; keep one of them")
    return named_parts


def in_order(parts: Mapping[str, str]) -> dict[str, str]:
    """Return part -> name, in the order train, val, test.

    >>> in_order({"Test": "test", "dev": "val"})
    {'val': 'dev', 'test': 'Test'}
    """
    names = {part: name for name, part in parts.items()}
    return {part: names[part] for part in PARTS if part in names}


def kinds_of_files(names: Iterable[str]) -> list[str]:
    """Return the folders, among those beside each other, whose names are kinds of files and no classes.

    A folder of annotations is none among any others. A folder of images is none if there is nothing else beside it.

    >>> kinds_of_files(["images", "masks"]), kinds_of_files(["wren", "masks"]), kinds_of_files(["photos", "drawings"])
    (['images', 'masks'], ['masks'], [])
    >>> kinds_of_files(["JPEGImages"]), kinds_of_files(["001", "002"]), kinds_of_files(["label", "price tag"])
    (['JPEGImages'], [], ['label'])
    """
    words = {name: {re.sub(r"[\W\d_]+", "", name.casefold())} - {""} for name in names}
    for name, word_set in words.items():
        if not word_set <= ANNOTATION_WORDS | NEUTRAL_WORDS:
            words[name] = set(words_of(name))
    annotations = [
        name for name, word_set in words.items() if word_set and word_set <= ANNOTATION_WORDS | NEUTRAL_WORDS
    ]
    strict = [name for name in annotations if words[name] & ANNOTATION_WORDS]
    return annotations if len(annotations) == len(words) else strict
