"""Sources at random, well-formed and broken: no traceback, and what is read plus what is reported is what is there."""

import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.core import UserError
from raysearch.data import image_sources, layouts, shards, source_tree
from raysearch.data.layouts import Listing
from raysearch.data.reading_account import ReadingAccount
from raysearch.data.source_tree import is_image_name
from raysearch.studies.design import study_files

from .layouts.trees import picture

PHOTO = picture()
CONTENTS = [PHOTO, PHOTO, PHOTO, picture("L", "PNG"), PHOTO[:100], b"", b"text"]
STEMS = ["0", "1", "22.05", "a", "é", "e\u0301", ".hidden", "._0", "x y", "train", "images"]
ENDINGS = ["jpg", "jpg", "JPEG", "png", "jfif", "txt", "pdf", "heic", "cls", "csv", "json", "tar", "parquet", ""]
FOLDERS = [
    "owl",
    "wren",
    "train",
    "test",
    "val",
    "Train",
    "masks",
    "images",
    "@eaDir",
    ".git",
    "é",
    "split",
    "meta-train",
]
LABELS = ["owl", "wren", "0", "1", "-1", "unknown", "", "é", "1.5", "[" * 5_000, "\0"]
PARTS = ["train", "val", "test", "Train", "trian", ""]

names = st.builds(lambda stem, ending: f"{stem}.{ending}".rstrip("."), st.sampled_from(STEMS), st.sampled_from(ENDINGS))
paths = st.builds(
    lambda folders, name: "/".join([*folders, name]), st.lists(st.sampled_from(FOLDERS), max_size=3), names
)
contents = st.sampled_from(CONTENTS)
trees = st.dictionaries(paths, contents, max_size=14)
labels = st.sampled_from(LABELS)
texts = labels.map(str.encode) | st.just(b'{"label": "owl"}')
members = st.lists(st.tuples(names, contents | texts, st.sampled_from("ffffffsldr")), max_size=10)
odd_paths = st.sampled_from(["../x.jpg", "/x.jpg", "./owl/0.jpg", "owl\\0.jpg"])
rows = st.lists(st.tuples(paths | odd_paths, labels, st.sampled_from(PARTS)), max_size=8)
damage = st.none() | st.tuples(st.floats(0, 1), st.booleans())


def put(root: Path, tree: dict[str, bytes]) -> None:
    """Write files below a folder; a path that is in the way of another is left out."""
    for name, data in tree.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(data)
        except OSError:
            continue


def break_bytes(data: bytes, how: tuple[float, bool] | None) -> bytes:
    """Cut data off, or change a byte of it."""
    if how is None or not data:
        return data
    at = min(int(how[0] * len(data)), len(data) - 1)
    return data[:at] if how[1] else data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def tar_bytes(content: list[tuple[str, bytes, str]]) -> bytes:
    file = io.BytesIO()
    kinds = {"s": tarfile.SYMTYPE, "l": tarfile.LNKTYPE, "d": tarfile.DIRTYPE, "r": tarfile.FIFOTYPE}
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data, kind in content:
            info = tarfile.TarInfo(name)
            if kind == "f":
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                info.type = kinds[kind]
                info.linkname = "0.jpg"
                tar.addfile(info)
    return file.getvalue()


def check_error(error: UserError) -> None:
    """An error is one line of a length that can be read."""
    assert 0 < len(str(error)) < 5_000
    assert "\n" not in str(error)


def check_files(src: Path, listing: Listing, account: ReadingAccount) -> None:
    """Every entry of SRC is a file that was read or used, one that is corrupt, or one that is counted."""
    entries = {entry.path for entry in source_tree.walk(src)}
    root = str(src) + "/"
    read = {path.removeprefix(root) for sample in listing if (path := shards.loader_file(sample.load))}
    base = "" if listing.base is None else f"{listing.base.relative_to(src).as_posix()}/"
    corrupt = {base + image.source for image in listing.corrupt}
    known = entries & (read | set(account.used) | corrupt)
    counted = sum(entry.number for entry in account.left_out if entry.kind in ("file", "folder"))
    assert read <= entries
    assert len(known) + counted == len(entries), (entries, known, account)


def check_source(src: Path, out: Path) -> None:
    """Ingest a folder by the layout that is found and by those that read such files; index it as well."""
    for name in ("auto", "folder", "fewshot", "webdataset", "parquet"):
        try:
            layout = layouts.find_layout(name, str(src))[0]
            listing, account = layouts.read_source(layout, str(src))
        except UserError as error:
            check_error(error)
            continue
        check_files(src, listing, account)
        try:
            manifest = shards.write_shards(
                listing,
                out / name,
                name="n",
                layout="l",
                classes=listing.classes,
                corrupt=listing.corrupt,
                account=account,
            )
        except UserError as error:
            check_error(error)
            continue
        assert manifest.account is not None
        assert manifest.images == manifest.account.read
        corrupt = sum(entry.number for entry in manifest.account.left_out if entry.kind == "image")
        assert manifest.images + corrupt == len(listing) + len(listing.corrupt)
        shards.read_manifest(out / name).account.model_dump_json()  # type: ignore[union-attr]
    try:
        found = image_sources.find_images(src)
    except UserError:
        return
    entries = list(source_tree.walk(src))
    assert found.account.read + found.account.number_left_out == len(entries)
    assert found.account.read == sum(not entry.reason and is_image_name(entry.path) for entry in entries)


def check_tar(content: list[tuple[str, bytes, str]], src: Path) -> None:
    """Every image of a whole archive is read, corrupt, or counted; so is every other member but the labels in use."""
    try:
        listing, account = layouts.read_source(layouts.LAYOUTS["webdataset"], str(src))
    except UserError:
        return
    not_folders = [(name, kind) for name, _, kind in content if kind != "d"]
    counted = sum(entry.number for entry in account.left_out if entry.kind == "member")
    labels = sum(name.lower().endswith((".cls", ".json")) and kind == "f" for name, kind in not_folders)
    read = len(listing) + len(listing.corrupt)
    assert len(not_folders) - labels <= read + counted <= len(not_folders)


@st.composite
def sources(draw: st.DrawFn) -> tuple[dict[str, bytes], list[tuple[str, bytes, str]] | None]:
    """The files of a source, and the members of its archive if it has only that, whole."""
    tree = draw(trees)
    kind = draw(st.sampled_from(["tree", "classes", "csv", "fewshot", "tar", "parquet"]))
    if kind == "classes":
        tree |= {f"{label}/{n}.jpg": PHOTO for label in ("owl", "wren") for n in range(draw(st.integers(1, 4)))}
    elif kind in ("csv", "fewshot"):
        mark = draw(st.sampled_from(",;\t"))
        header = ("path", "label", "split") if kind == "csv" else ("filename", "label", "note")
        lines = [header, *draw(rows)]
        text = "\n".join(mark.join(line) for line in lines).encode()
        tree["split.csv" if kind == "csv" else "train.csv"] = break_bytes(text, draw(damage))
    elif kind == "tar":
        content = draw(members)
        how = draw(damage)
        if how is None and draw(st.booleans()):
            return {"train.tar": tar_bytes(content)}, content
        tree[draw(st.sampled_from(["train.tar", "a.tar", "a.tar.gz"]))] = break_bytes(tar_bytes(content), how)
    elif kind == "parquet":
        count = draw(st.integers(0, 6))
        images = [{"bytes": draw(contents | st.none()), "path": None} for _ in range(count)]
        numbers = [draw(st.integers(-1, 3)) for _ in range(count)]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"image": images, draw(st.sampled_from(["label", "caption"])): numbers}), sink)
        tree[draw(st.sampled_from(["train.parquet", "x.parquet"]))] = break_bytes(
            sink.getvalue().to_pybytes(), draw(damage)
        )
    return tree, None


def try_source(source: tuple[dict[str, bytes], list[tuple[str, bytes, str]] | None]) -> None:
    tree, content = source
    with tempfile.TemporaryDirectory() as folder:
        src = Path(os.path.realpath(folder)) / "src"
        src.mkdir()
        put(src, tree)
        check_source(src, Path(folder) / "out")
        if content is not None:
            check_tar(content, src)


statements = st.sampled_from(
    [
        "from raysearch import Ablation, Search, factor, choice",
        "STUDY = Ablation(task='retrieval', question='q', factors=[], metrics=['map'])",
        "STUDY = Search(task='retrieval', question='q', space={})",
        "STUDY = 3",
        "raise SystemExit(3)",
        "1 / 0",
        "def f(:",
        "import nothing_of_this_name",
        "\0",
        "x = " + "[" * 500,
        json.dumps({"a": 1}),
    ]
)


def try_study(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study_at_random.py"
        path.write_text("\n".join(lines))
        try:
            study_files.load_study(str(path))
        except UserError as error:
            check_error(error)


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
LONG = settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))

test_sources = QUICK(given(sources())(try_source))
test_studies = QUICK(given(st.lists(statements, max_size=4))(try_study))
test_many_sources = pytest.mark.slow(LONG(given(sources())(try_source)))
test_many_studies = pytest.mark.slow(LONG(given(st.lists(statements, max_size=6))(try_study)))
