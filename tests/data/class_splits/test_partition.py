"""A data set divided by classes: which split "auto" takes, files of the user's own, and images of each part."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysearch.core import UserError
from raysearch.data import class_splits, feed, shards
from raysearch.data.class_splits import splits
from raysearch.studies.configs import overrides
from raysearch.tasks import metric_definitions

SHARED = {"auk": "train test", "kite": "train test", "owl": "train test", "rook": "train test", "wren": "train test"}
APART = {"auk": "train", "kite": "test", "owl": "val", "rook": "train", "wren": "test"}
MOD4 = {"auk": "train", "kite": "train", "owl": "val", "rook": "test", "wren": "train"}


def load(shade: int) -> bytes:
    return shards.encode_jpeg(Image.new("RGB", (8, 8), (shade, shade, shade)))


def write(directory: Path, where: dict[str, str]) -> Path:
    """A data set of two images for each class and split; shades say which class and split an image is of."""
    samples = [
        shards.Sample(f"{split}/{label}_{number}.jpg", label, split, partial(load, shade(label, split) + number))
        for label, found in where.items()
        for split in found.split()
        for number in range(2)
    ]
    shards.write_shards(samples, directory, name="birds", layout="folder", rows_per_shard=3)
    return directory


def shade(label: str, split: str) -> int:
    return 40 * sorted(SHARED).index(label) + 10 * ("train", "val", "test").index(split) + 10


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return write(tmp_path / "shared", SHARED)


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    return write(tmp_path / "apart", APART)


def parts(found: class_splits.Partition) -> dict[str, str]:
    return dict(zip(sorted(SHARED), found.of_class, strict=True))


def test_auto_takes_the_data_set_s_own_splits_where_they_share_no_class(apart: Path, shared: Path) -> None:
    own = class_splits.partition_of(apart, "auto")
    assert (own.name, parts(own)) == ("own", APART)
    assert own == class_splits.partition_of(apart, "own")
    assert own.images == {"train": 4, "val": 2, "test": 4}
    dealt = class_splits.partition_of(shared, "auto")
    assert (dealt.name, parts(dealt)) == ("mod4", MOD4)
    assert dealt == class_splits.partition_of(shared, "mod4")
    assert dealt.images == {"train": 12, "val": 4, "test": 4}
    assert parts(class_splits.partition_of(apart, "mod4")) == MOD4, "by name a rule is taken in any case"


def test_own_splits_that_share_a_class(tmp_path: Path) -> None:
    directory = write(tmp_path / "data", {**APART, "auk": "train test"})
    assert class_splits.partition_of(directory, "auto").name == "mod4"
    with pytest.raises(UserError, match=r"data\.split=own needs train/val/test splits with disjoint, non-empty"):
        class_splits.partition_of(directory, "own")


# Whatever the names of the train classes, none of the test classes may be trained on.
TRAIN = [f"{word} {number}" for word in ("été", "bird") for number in range(13)]


@pytest.mark.parametrize(
    ("where", "name", "sizes"),
    [
        ({"train": 10, "val": 3, "test": 4}, "own", {"train": 10, "val": 3, "test": 4}),
        ({"train": 10, "test": 4}, "own-held-out", {"train": 5, "val": 5, "test": 4}),
        ({"train": 4, "test": 4}, "own-held-out", {"train": 2, "val": 2, "test": 4}),
        ({"train": 26, "test": 4}, "own-held-out", {"train": 21, "val": 5, "test": 4}),
        ({"train": 10, "val": 4}, "own", {"train": 10, "val": 4}),
        ({"train": 8}, "mod4", {"train": 4, "val": 2, "test": 2}),
        ({"train": 1, "test": 4}, "", "one train class, which cannot be divided"),
        ({"test": 8}, "", "has a test part and no train part"),
        ({"val": 8}, "", "has a val part and no train part"),
        ({"val": 4, "test": 4}, "", "has a val and a test part and no train part"),
    ],
)
def test_own_parts_are_kept(where: dict[str, int], name: str, sizes: dict[str, int] | str, tmp_path: Path) -> None:
    own = {}
    for part, count in where.items():
        names = TRAIN if part == "train" else [f"{part} {number}" for number in range(count)]
        own |= dict.fromkeys(names[:count], part)
    samples = [shards.Sample(f"{label}.jpg", label, part, partial(load, 50)) for label, part in own.items()]
    shards.write_shards(samples, tmp_path / "data", name="birds", layout="folder")
    if isinstance(sizes, str):
        with pytest.raises(UserError, match=sizes):
            class_splits.partition_of(tmp_path / "data", "auto")
        return
    found = class_splits.partition_of(tmp_path / "data", "auto")
    divided = dict(zip(sorted(own), found.of_class, strict=True))
    assert found.name == name
    assert {part: found.of_class.count(part) for part in sizes} == sizes
    if name != "mod4":
        assert all(part == own[label] or (own[label], part) == ("train", "val") for label, part in divided.items())
    assert bool(found.warnings(None)) == (name == "own-held-out")
    assert class_splits.partition_of(tmp_path / "data", "auto") == found
    manifest = shards.read_manifest(tmp_path / "data")
    same = class_splits.data_identity(manifest) == manifest.content_hash
    assert same == (("val" in where and "test" in where) or len(where) == 1)


def test_validation_images_of_train_classes(tmp_path: Path) -> None:
    """After --val, val has the classes of train. The test classes stay apart, and other classes validate."""
    own = {**dict.fromkeys(TRAIN, "train val"), **{f"test {number}": "test" for number in range(6)}}
    samples = [
        shards.Sample(f"{part}/{label}.jpg", label, part, partial(load, 50))
        for label, parts in own.items()
        for part in parts.split()
    ]
    manifest = shards.write_shards(samples, tmp_path / "data", name="birds", layout="folder")
    found = class_splits.partition_of(tmp_path / "data", "auto")
    assert found.name == "own-held-out"
    assert set(found.split.classes("test")) == {f"test {number}" for number in range(6)}
    assert {part: found.of_class.count(part) for part in ("train", "val")} == {"train": 21, "val": 5}
    assert "no test class is in another part" in manifest.limits[0]
    assert class_splits.data_identity(manifest) != manifest.content_hash


def test_the_validation_classes_do_not_depend_on_the_other_classes(tmp_path: Path) -> None:
    """Classes validate by a hash of their names: another test class moves none."""
    found = []
    for more in ({}, {"zebra finch": "test"}):
        own = {**dict.fromkeys(TRAIN, "train"), "owl": "test", **more}
        samples = [shards.Sample(f"{label}.jpg", label, part, partial(load, 50)) for label, part in own.items()]
        shards.write_shards(samples, tmp_path / f"data{len(more)}", name="birds", layout="folder")
        found.append(class_splits.partition_of(tmp_path / f"data{len(more)}", "auto").split.classes("val"))
    assert found[0] == found[1]
    expected = sorted(TRAIN, key=lambda label: hashlib.sha256(label.encode()).hexdigest())[:5]
    assert found[0] == tuple(sorted(expected))


def test_a_file_of_the_users_own(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    wanted = {"auk": "test", "kite": "test", "owl": "train", "rook": "train", "wren": "val"}
    path.write_text("class,split\n" + "".join(f"{label},{part}\n" for label, part in wanted.items()))
    found = class_splits.partition_of(shared, str(path))
    assert parts(found) == wanted
    assert found.name == str(path)
    assert found.describe().endswith("classes 2 train (8 images), 1 val (4 images), 2 test (8 images)")


def test_what_cannot_be_divided_is_the_users_to_mend(shared: Path, tmp_path: Path) -> None:
    three = write(tmp_path / "three", {label: "train test" for label in ("auk", "kite", "owl")})
    with pytest.raises(UserError, match=r"data\.split=auto: no class of 'birds' is in its test part"):
        class_splits.partition_of(three, "auto")
    for name, words in (("mod5", "'mod4'"), ("cifar-fs", "lacks 5 of the data set's 5 classes")):
        with pytest.raises(UserError, match=words) as caught:
            class_splits.partition_of(shared, name)
        assert "\n" not in str(caught.value)


def test_every_image_of_a_class_goes_where_its_class_goes(shared: Path) -> None:
    found = class_splits.partition_of(shared, "mod4")
    sets = feed.decode_dataset(shared, 8, parts=found.of_class)
    assert list(sets) == ["train", "val", "test"]
    for part, images in sets.items():
        labels = [label for label, own in MOD4.items() if own == part]
        assert [sorted(SHARED)[label] for label in images.labels] == [label for label in labels for _ in range(4)]
        # by source, so the images of the data set's test split come before those of its train split
        expected = [shade(label, split) + n for label in labels for split in ("test", "train") for n in range(2)]
        assert np.abs(images.images.astype(int) - np.array(expected)[:, None, None, None]).max() <= 3
        assert images.labels.dtype == np.int64
    assert found.images == {part: len(images) for part, images in sets.items()}


def test_of_own_splits_each_row_stays_where_it_is(apart: Path) -> None:
    sets = feed.decode_dataset(apart, 8, parts=class_splits.partition_of(apart, "auto").of_class)
    assert {part: sorted({sorted(SHARED)[label] for label in images.labels}) for part, images in sets.items()} == {
        "train": ["auk", "rook"], "val": ["owl"], "test": ["kite", "wren"],
    }  # fmt: skip


def test_a_class_that_lost_all_its_images_is_in_nobodys_way(tmp_path: Path) -> None:
    def broken() -> bytes:
        return b"no image"

    samples = [
        shards.Sample(f"{label}.jpg", label, split, partial(load, 50))
        for label, split in (("auk", "train"), ("owl", "val"), ("wren", "test"))
    ]
    samples.append(shards.Sample("kite.jpg", "kite", "train", broken))
    shards.write_shards(samples, tmp_path / "data", name="birds", layout="folder")
    found = class_splits.partition_of(tmp_path / "data", "auto")
    assert found.name == "own"
    sets = feed.decode_dataset(tmp_path / "data", 8, parts=found.of_class)
    assert {part: len(images) for part, images in sets.items()} == {"train": 1, "val": 1, "test": 1}


def test_metric_ids_and_names_tell_splits_apart(shared: Path, apart: Path) -> None:
    config = overrides.resolve("fewshot", {})
    found = [
        class_splits.partition_of(shared, "mod4"),
        class_splits.partition_of(shared, "closerlook"),
        class_splits.partition_of(apart, "mod4"),
    ]
    ids = [metric_definitions.metric_ids(config, one.identity)["accuracy"] for one in found]
    assert len(set(ids)) == 3
    for one, said in zip(found, ids, strict=True):
        assert one.identity == f"{one.name}-{one.hash[:8]}"
        assert f"/{one.identity}/test" in said
    sources = [f"{split}/{label}_{n}.jpg" for label in SHARED for split in ("train", "test") for n in range(2)]
    labels = [label for label in SHARED for _ in range(4)]
    assert found[0].hash == splits.split_hash(found[0].split, sources, labels)
    assert class_splits.partition_identity("auto") == "auto"
    assert class_splits.partition_identity("own") == "own"
    assert class_splits.partition_identity("mod4") == "mod4"


def test_weights_that_have_met_the_novel_classes_are_said() -> None:
    listed = Path(splits.__file__).parent / "lists" / "miniimagenet.csv"
    lines = [line for line in listed.read_text("utf-8").splitlines() if line.endswith(class_splits.PARTS)]
    split = splits.load_split("miniimagenet", [line.partition(",")[0] for line in lines])
    made = class_splits.Partition(split.name, "0" * 64, (), {}, split)
    assert any("IMAGENET1K_V1" in warning for warning in made.warnings("IMAGENET1K_V1"))
    assert made.warnings(None) == []
