"""Few-shot layouts: each public form gives the same samples, and what is none of them says so."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts, shards
from raysearch.data.synthetic import list_samples as drawn
from raysearch.data.synthetic import parse_spec

ROWS = (("wren", "1.jpg", "train"), ("wren", "2.jpg", "train"), ("owl", "3.jpg", "val"), ("kite", "4.jpg", "test"))


def build(root: Path, image: str, lists: str | None = None, rows: tuple[tuple[str, str, str], ...] = ROWS) -> str:
    """A data set whose images lie at the pattern `image`, with lists in the folder `lists`."""
    texts: dict[str, str] = {}
    for label, filename, split in rows:
        path = root / image.format(label=label, filename=filename, split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(filename.encode())
        texts[split] = texts.get(split, "filename, label, concept\n") + f"{filename},{label},7\n"
    for split, text in texts.items() if lists is not None else ():
        (root / str(lists)).mkdir(parents=True, exist_ok=True)
        (root / str(lists) / f"{split}.csv").write_text(text, "utf-8")
    return str(root)


@pytest.mark.parametrize(
    ("image", "lists"),
    [
        ("images/{label}/{filename}", "split"),
        ("images/{filename}", "split"),
        ("data/images/{filename}", "data/split"),
        ("images/{filename}", "."),
        ("{filename}", "split"),
        ("{split}/{label}/{filename}", None),
        ("meta-{split}/{label}/{filename}", None),
    ],
)
def test_every_form_gives_the_same_samples(image: str, lists: str | None, tmp_path: Path) -> None:
    samples = layouts.read_fewshot(build(tmp_path, image, lists))
    assert [(one.label, one.split, one.load().decode()) for one in samples] == [
        (label, split, filename) for label, filename, split in ROWS
    ]
    assert [one.source for one in samples] == [
        image.format(label=label, filename=filename, split=split) for label, filename, split in ROWS
    ]


def test_images_that_were_made_smaller_are_left_alone(tmp_path: Path) -> None:
    src = build(tmp_path, "{split}/{label}/{filename}")
    build(tmp_path, "{split}_pre/{label}/{filename}")
    assert len(layouts.read_fewshot(src)) == len(ROWS)
    with pytest.raises(UserError, match="holds test/ beside test_pre/"):
        layouts.read_folder(src)


def test_a_class_in_two_parts(tmp_path: Path) -> None:
    rows = (*ROWS, ("wren", "5.jpg", "test"))
    for image, lists in (("{split}/{label}/{filename}", None), ("images/{filename}", "split")):
        with pytest.raises(UserError, match="class 'wren' is in train and in test, so this is not a few-shot data set"):
            layouts.read_fewshot(build(tmp_path / str(lists), image, lists, rows))


def test_what_is_none_of_the_forms(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        layouts.read_fewshot(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"holds no few-shot data set: neither split/train\.csv"):
        layouts.read_fewshot(build(tmp_path / "plain", "{label}/{filename}"))
    src = build(tmp_path, "images/{filename}", "split")
    with pytest.raises(UserError, match="the split comes from the lists or folders of its parts"):
        layouts.read_fewshot(src, 0.5)
    (tmp_path / "images/1.jpg").unlink()
    (left_out,) = layouts.read_fewshot(src).corrupt
    assert left_out.source == "images/1.jpg"
    assert left_out.reason == "listed in train, and there is no such file"
    (tmp_path / "images/2.jpg").unlink()
    with pytest.raises(UserError, match=r"lists 1.jpg, and .* has none of images/wren/1.jpg, images/1.jpg, 1.jpg"):
        layouts.read_fewshot(src)
    (tmp_path / "split/train.csv").write_text("file,label\n1.jpg,wren\n")
    with pytest.raises(UserError, match=r"train\.csv lacks the column 'filename'; it needs filename and label"):
        layouts.read_fewshot(src)
    (tmp_path / "split/train.csv").write_text("filename,label\n/etc/hostname,wren\n")
    with pytest.raises(UserError, match="/etc/hostname is absolute; paths are relative to SRC"):
        layouts.read_fewshot(src)
    twice = build(tmp_path / "twice", "images/{filename}", "split", (*ROWS, ROWS[0]))
    with pytest.raises(UserError, match=r"images/1\.jpg is listed twice"):
        layouts.read_fewshot(twice)


def test_shards_keep_the_validation_classes(tmp_path: Path) -> None:
    """A class-disjoint split.csv and a few-shot layout of the same images hold the same rows in three parts."""
    images = {
        one.source: one.load() for one in drawn(parse_spec("classes=3,train_per_class=2,test_per_class=0,side=16"))
    }
    part = dict(zip(sorted({source.split("/")[1] for source in images}), ("train", "val", "test"), strict=True))
    listed = ["path,label,split"]
    for source, data in images.items():
        _, label, name = source.split("/")
        for path in (f"csv/{label}/{name}", f"parts/meta-{part[label]}/{label}/{name}"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        listed.append(f"{label}/{name},{label},{part[label]}")
    (tmp_path / "csv/split.csv").write_text("\n".join(listed))
    for layout, src in (("folder", "csv"), ("fewshot", "parts")):
        found = layouts.LAYOUTS[layout].read(str(tmp_path / src), None)
        manifest = shards.write_shards(found, tmp_path / f"{src}-shards", name="birds", layout=layout)
        assert manifest.counts == {"train": (2, 0, 0), "val": (0, 2, 0), "test": (0, 0, 2)}
        kept = shards.read_rows(tmp_path / f"{src}-shards", columns=["label", "split"], split="val")
        assert kept["label"].to_pylist() == [1, 1]
        shards.verify_shards(tmp_path / f"{src}-shards")
