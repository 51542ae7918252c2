"""Splits: what is shipped is what papers count, spellings meet, and a split that does not fit is refused by name."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data.class_splits import leakage_warning, match_class_names, split_files, splits

# classes of train, val and test as published, and what the list says, frozen: cells are named by a list's name alone
PUBLISHED = {
    "stanford-dogs": ((70, 20, 30), "78ea9b5be049db23"),
    "stanford-cars": ((130, 17, 49), "bca358f79151df81"),
    "aircraft": ((60, 15, 25), "b37736bac98a3e4e"),
    "miniimagenet": ((64, 16, 20), "223cd0af5070ef69"),
    "tieredimagenet": ((351, 97, 160), "ae6464648b9b5747"),
    "cifar-fs": ((64, 16, 20), "290d2e15fe40cefe"),
}
LISTS = Path(splits.__file__).parent / "lists"
CUB = [f"{number:03d}.Bird_{number}" for number in range(1, 201)]


def listed(name: str) -> split_files.Parts:
    return split_files.read_parts(LISTS / f"{name}.csv")


def numbers(split: splits.Split) -> dict[str, set[int]]:
    return {part: {int(label[:3]) for label in split.classes(part)} for part in ("train", "val", "test")}


@pytest.mark.parametrize("name", splits.SHIPPED)
def test_shipped_lists_are_those_that_were_published(name: str) -> None:
    counts, frozen = PUBLISHED[name]
    parts = listed(name)
    split = splits.load_split(name, parts)
    assert tuple(split.counts.values()) == counts
    assert len(split.parts) == sum(counts)
    assert split.source.startswith(("github.com/", "Ravi and Larochelle"))
    assert splits.split_identity(str(LISTS / f"{name}.csv")) == frozen
    text = (LISTS / f"{name}.csv").read_text("utf-8")
    assert text.count(",") - text.partition("class,split")[0].count(",") == sum(counts) + 1  # no class comes twice


def test_every_list_in_the_folder_is_known() -> None:
    assert {path.stem for path in LISTS.glob("*.csv")} == set(splits.SHIPPED)


def test_a_few_classes_that_everyone_knows() -> None:
    assert listed("miniimagenet")["n01532829"] == "train"  # house finch
    assert listed("miniimagenet")["n02129165"] == "test"  # lion
    assert listed("cifar-fs")["baby"] == "test"
    assert listed("aircraft")["737-200"] == "test"
    assert listed("stanford-dogs")["n02108089-boxer"] == "test"
    # tieredImageNet keeps the dogs' families apart: hounds and terriers, sporting dogs, working dogs
    tiered = listed("tieredimagenet")
    assert (tiered["n02088364"], tiered["n02099601"], tiered["n02106662"]) == ("train", "val", "test")


def test_rules_deal_the_sorted_classes() -> None:
    classes = list("fbdaceg")
    expected = {
        "mod4": {"train": "abef", "val": "cg", "test": "d"},
        "closerlook": {"train": "aceg", "val": "bf", "test": "d"},
        "frn": {"train": "bdf", "val": "ae", "test": "cg"},
    }
    for name, parts in expected.items():
        split = splits.load_split(name, classes)
        assert {part: "".join(split.classes(part)) for part in parts} == parts
        assert split.parts == splits.load_split(name, sorted(classes)).parts


def test_the_splits_of_cub_do_not_agree() -> None:
    """Chen et al. count folders from 0, Wertheimer et al. classes from 1; the rules are written out here."""
    closer, frn = (numbers(splits.load_split(f"cub-{name}", CUB[::-1])) for name in ("closerlook", "frn"))
    places = range(200)
    assert closer["train"] == {i + 1 for i in places if i % 2 == 0}
    assert closer["val"] == {i + 1 for i in places if i % 4 == 1}
    assert closer["test"] == {i + 1 for i in places if i % 4 == 3}
    assert frn["train"] == {i for i in range(1, 201) if i % 2 == 0}
    assert frn["val"] == {i for i in range(1, 201) if i % 4 == 1}
    assert frn["test"] == {i for i in range(1, 201) if i % 4 == 3}
    assert closer["train"] | frn["train"] == set(range(1, 201))
    assert not closer["train"] & frn["train"]
    assert not closer["test"] & frn["test"]
    with pytest.raises(UserError, match="cub-frn uses CUB's numbers: it needs 200 classes"):
        splits.load_split("cub-frn", [name[4:] for name in CUB])
    with pytest.raises(UserError, match="it needs 200 classes"):
        splits.load_split("cub-closerlook", CUB[:100])


def test_aircraft_of_frn_is_dealt_in_the_order_of_its_own_list() -> None:
    own = sorted(listed("aircraft"))
    on_disk = {"F/A-18": "f_a_18", "F-16A/B": "F-16A-B", "An-12": "an_12"}
    split = splits.load_split("aircraft-frn", [on_disk.get(name, name) for name in own])
    assert tuple(split.counts.values()) == (50, 25, 25)
    for place, name in enumerate(own):
        wanted = "train" if place % 2 == 0 else "val" if place % 4 == 1 else "test"
        assert split.parts[on_disk.get(name, name)] == wanted


@pytest.mark.parametrize(
    ("name", "on_disk"),
    [
        ("n02085620-Chihuahua", "n02085620-Chihuahua"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02085620", "n02085620-Chihuahua"),
        ("n02085620-Chihuahua", "n02085620"),
        ("Black footed Albatross", "001.Black_footed_Albatross"),
        ("Ram C/V Cargo Van Minivan 2012", "Ram C-V Cargo Van Minivan 2012"),
        ("aquarium_fish", "Aquarium Fish"),
        ("Mähne", "mähne"),
    ],
)
def test_spellings_that_meet(name: str, on_disk: str) -> None:
    assert match_class_names([name, "other"], ["something else", on_disk]) == {name: on_disk}


def test_spellings_that_must_not_meet() -> None:
    assert match_class_names(["707-320"], ["320"]) == {}  # a name that is digits throughout has no number to leave out
    assert match_class_names(["owl"], ["Owl", "OWL"]) == {}  # two classes on disk, and no telling which
    assert match_class_names(["owl", "Owl"], ["Owl", "OWL"]) == {"Owl": "Owl", "owl": "OWL"}  # the exact ones first
    assert match_class_names(["Audi S4 Sedan 2007"], ["Audi S4 Sedan 2012"]) == {}


def test_classes_that_only_one_side_has_are_named() -> None:
    classes = listed("cifar-fs")
    with pytest.raises(UserError, match=r"lacks 1 of the data set's 101 classes \(first: 'unicorn'\)$"):
        splits.load_split("cifar-fs", [*classes, "unicorn"])
    with pytest.raises(UserError, match=r"names 2 of its 100 classes that the data set lacks \(first: 'apple'\)$"):
        splits.load_split("cifar-fs", [name for name in classes if name not in ("apple", "bee")])
    with pytest.raises(UserError, match=r"lacks 4 .*'a'\) and names 100 of its 100"):
        splits.load_split("cifar-fs", "abcd")


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="unknown split 'stanford-dog', and no such file; did you mean 'stanford-dogs'"):
        splits.load_split("stanford-dog", ["a"])
    for name, folder in splits.ELSEWHERE.items():
        with pytest.raises(UserError, match=f"list of {name} is not shipped; give the folder of {folder.split()[0]}"):
            splits.load_split(name, ["a"])
    assert set(splits.known_splits()) == {*splits.RULES, *splits.SHIPPED}


def write(folder: Path, **texts: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")
    return str(folder)


def test_a_users_lists_of_classes_and_of_images_say_the_same(tmp_path: Path) -> None:
    path = Path(write(tmp_path, mine="# my own\n class , split\nwren,train\nowl,val\n\nkite,test\n")) / "mine.csv"
    images = write(
        tmp_path / "set" / "split",
        train="filename, label, concept\n1.jpg,wren,3,4\n2.jpg,wren,1,1\n",
        val="filename,label\n3.jpg,owl\n",
        test="\ufefffilename,label\r\n4.jpg,kite\r\n",
    )
    by_list = splits.load_split(str(path), ["kite", "owl", "wren"])
    assert by_list.parts == {"wren": "train", "owl": "val", "kite": "test"}
    for folder in (images, str(Path(images).parent)):
        assert splits.load_split(folder, ["kite", "owl", "wren"]).parts == by_list.parts
        assert splits.split_identity(folder) == splits.split_identity(str(path))
    path.write_text("class,split\nwren,train\nowl,test\nkite,test\n")
    assert splits.split_identity(str(path)) != splits.split_identity(images)
    assert splits.split_identity("cub-frn") == "cub-frn"
    assert splits.split_identity("miniimagenet") == "miniimagenet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\na,train\n", "lacks the column 'class'; it needs class and split"),
        ("class,split\na,trian\n", "unknown split 'trian' of class 'a'; did you mean 'train'"),
        ("class,split\na,train\na,test\n", "class 'a' is in test and in train; a class has one part"),
        ("class,split\n,train\n", "a row without a class"),
        ("class,split\na\n", "a row without a split"),
        ("", "lacks the column 'class'"),
    ],
)
def test_wrong_lists(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        splits.load_split(str(path), ["a"])


def test_wrong_folders_of_lists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no val.csv; a split is train.csv, val.csv and test.csv"):
        splits.load_split(write(tmp_path, train="filename,label\n1,a\n", test="filename,label\n2,b\n"), "ab")
    (tmp_path / "val.csv").write_bytes(b"filename,label\n3,\xff\n")
    with pytest.raises(UserError, match="not a CSV file in UTF-8"):
        splits.load_split(str(tmp_path), "ab")
    (tmp_path / "val.csv").write_text("filename,label\n3,a\n")
    with pytest.raises(UserError, match="class 'a' is in val and in train"):
        splits.load_split(str(tmp_path), "ab")


def test_split_hash_tells_images_and_parts_apart() -> None:
    split = splits.load_split("mod4", "abcd")
    rows = [("1.jpg", "a"), ("2.jpg", "b"), ("3.jpg", "c"), ("4.jpg", "d")]
    hashes = {
        splits.split_hash(one, [source for source, _ in kept], [label for _, label in kept])
        for kept in (rows, rows[:3], [("5.jpg", "a"), *rows[1:]])
        for one in (split, splits.load_split("closerlook", "abcd"))
    }
    assert len(hashes) == 6
    assert splits.split_hash(split, ["1.jpg"], ["a"])[:8] == "30926145"
    with pytest.raises(ValueError, match="shorter"):
        splits.split_hash(split, ["1.jpg"], [])


def of(name: str, parts: Mapping[str, str]) -> splits.Split:
    return splits.Split(name, parts, "")


def test_weights_that_know_the_new_classes() -> None:
    wordnet = of("mine.csv", {"n01440764-tench": "train", "n02129165-lion": "val", "n02129604": "test", "owl": "test"})
    mini = of("miniimagenet", {"house finch": "train", "lion": "test"})
    for weights in ("IMAGENET1K_V1", "DEFAULT", "/weights/squeezenet1_1-imagenet-features.pth", Path("ImageNet.pt")):
        assert (leakage_warning(weights, wordnet) or "").startswith("2 of the 3 classes of val and test are ImageNet's")
        assert (leakage_warning(weights, mini) or "").startswith("1 of the 1 classes")
        assert leakage_warning(weights, of("cub-frn", {"001.Albatross": "train", "002.Albatross": "test"})) is None
        assert leakage_warning(weights, of("mine.csv", {"n01440764": "train", "owl": "test"})) is None
    for harmless in (None, "conv4.pth", "/imagenet/base.pth"):
        assert leakage_warning(harmless, mini) is None
