"""Sources at random, well-formed and broken: no traceback, and what is read plus what is reported is what is there."""

import gzip
import io
import itertools
import json
import os
import re
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
GRAY = picture("L", "PNG")
CONTENTS = [PHOTO, PHOTO, PHOTO, GRAY, PHOTO[:100], b"", b"text"]
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
tables = st.lists(st.tuples(contents | st.none(), st.integers(-1, 3)), max_size=6)
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
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
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


def check_tar(content: list[tuple[str, bytes, str]], how: tuple[float, bool] | None, src: Path, archive: str) -> None:
    """Every member before a damage is read, corrupt or counted once, by name, but the labels in use and the folders."""
    there, is_whole = members_before_damage(content, how)
    listing = layouts.LAYOUTS["webdataset"].read(str(src), None)
    account = layouts.read_source(layouts.LAYOUTS["webdataset"], str(src))[1]
    known = [sample.source for sample in listing] + [image.source for image in listing.corrupt]
    known += [entry.name for entry in listing.unused]
    names = Counter(re.sub(r" \(\d+\)$", "", name) for name in known)
    assert names.pop(archive, 0) == (not is_whole)
    labels = labels_in_use(there)
    expected = Counter(
        f"{archive}/{name}" for at, (name, _, kind) in enumerate(there) if kind != "d" and at not in labels
    )
    assert names == expected, (content, how)
    counted = sum(entry.number for entry in account.left_out if entry.kind == "member")
    assert len(listing) + len(listing.corrupt) + counted == sum(expected.values()) + (not is_whole)


def members_before_damage(
    content: list[tuple[str, bytes, str]], how: tuple[float, bool] | None
) -> tuple[list[tuple[str, bytes, str]], bool]:
    """The members that can be read, and whether the archive is whole: by the blocks of 512 bytes of the tar format."""
    size = len(tar_bytes(content))
    at = size if how is None else min(int(how[0] * size), size - 1)
    is_cut = how is not None and how[1]
    start = 0
    for number, (_, data, kind) in enumerate(content):
        length = len(data) if kind == "f" else 0
        end = start + 512 + length
        if is_cut and at < end:
            return content[:number], False
        if not is_cut and start <= at < start + 512 and at != start + 155:  # the last byte of the checksum is unused
            return content[:number], False
        start = end + -length % 512
    return content, how is None or (at >= start + 512 if is_cut else at < start)


def labels_in_use(content: list[tuple[str, bytes, str]]) -> set[int]:
    """The numbers of the labels that are beside an image: neighbors of one key, each kind once."""
    groups: list[dict[str, int]] = []
    last = ""
    for number, (name, _, kind) in enumerate(content):
        if kind != "f" or name.startswith(".") or "." not in name:
            continue
        key, _, kind_of_member = name.partition(".")
        if not groups or key != last or kind_of_member.lower() in groups[-1]:
            groups.append({})
        last = key
        groups[-1][kind_of_member.lower()] = number
    with_image = (group for group in groups if any(is_image_name(f"_.{kind}") for kind in group))
    return {number for group in with_image for kind, number in group.items() if kind.endswith(("cls", "json"))}


def check_parquet(
    table: list[tuple[bytes | None, int]], at: int | None, is_cut: bool, src: Path, archive: str, out: Path
) -> None:
    """Every row is read, corrupt or counted once, by name; of a whole file, it is known which."""
    path = src / archive
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if at is not None and (is_cut or at >= footer):
        try:
            layouts.read_source(layouts.LAYOUTS["parquet"], str(src))
        except UserError as error:
            check_error(error)
        return
    listing, account = layouts.read_source(layouts.LAYOUTS["parquet"], str(src))
    rows_there = {f"{archive}/{number:08d}" for number in range(len(table))}
    read = [sample.source for sample in listing]
    corrupt = [image.source for image in listing.corrupt]
    lost = [entry.name for entry in listing.unused]
    assert Counter(name for name in [*read, *corrupt, *lost] if name != archive) == Counter(rows_there)
    assert corrupt.count(archive) == bool(lost)
    assert sum(entry.number for entry in account.left_out if entry.kind == "row") == len(lost)
    if at is None:
        has_label = [number for number, (image, label) in enumerate(table) if image is not None and label != -1]
        assert read == sorted(read) or len(listing.classes or ()) > 1
        assert set(read) == {f"{archive}/{number:08d}" for number in has_label}
        decodes = [number for number in has_label if table[number][0] in (PHOTO, GRAY)]
        if decodes:
            manifest = shards.write_shards(
                listing, out, name="n", layout="l", classes=listing.classes, corrupt=listing.corrupt, account=account
            )
            assert manifest.images == len(decodes)
            assert manifest.account is not None
            assert manifest.account.read + manifest.account.number_left_out == len(table)


@st.composite
def sources(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of a source."""
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
        name = draw(st.sampled_from(["train.tar", "a.tar", "a.tar.gz"]))
        tree[name] = break_bytes(tar_bytes(draw(members)), draw(damage))
    elif kind == "parquet":
        label = draw(st.sampled_from(["label", "caption"]))
        name = draw(st.sampled_from(["train.parquet", "x.parquet"]))
        tree[name] = break_bytes(parquet_bytes(draw(tables), label), draw(damage))
    return tree


def parquet_bytes(table: list[tuple[bytes | None, int]], label: str = "label") -> bytes:
    sink = pa.BufferOutputStream()
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": data, "path": None} for data, _ in table], kind)
    numbers = pa.array([number for _, number in table], pa.int64())
    pq.write_table(pa.table({"image": images, label: numbers}), sink, row_group_size=4)
    return sink.getvalue().to_pybytes()


def try_source(tree: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        src = Path(os.path.realpath(folder)) / "src"
        src.mkdir()
        put(src, tree)
        check_source(src, Path(folder) / "out")


def try_tar(content: list[tuple[str, bytes, str]], how: tuple[float, bool] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        src = Path(os.path.realpath(folder)) / "src"
        put(src, {"train.tar": break_bytes(tar_bytes(content), how)})
        check_tar(content, how, src, "train.tar")
        if how is None:
            (src / "train.tar").unlink()
            put(src, {"train.tar.gz": gzip.compress(tar_bytes(content))})
            check_tar(content, how, src, "train.tar.gz")


def try_parquet(table: list[tuple[bytes | None, int]], copies: int, how: tuple[float, bool] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        src = Path(os.path.realpath(folder)) / "src"
        data = parquet_bytes(table * copies)
        put(src, {"train.parquet": break_bytes(data, how)})
        at = None if how is None else min(int(how[0] * len(data)), len(data) - 1)
        check_parquet(table * copies, at, how is not None and how[1], src, "train.parquet", Path(folder) / "out")


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


TRIES: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "sources": (try_source, (sources(),)),
    "tars": (try_tar, (members, damage)),
    "parquet": (try_parquet, (tables, st.sampled_from([1, 1, 1, 30]), damage)),
    "studies": (try_study, (st.lists(statements, max_size=6),)),
}
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
ROUND = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None)
SECONDS = 60.0


def try_at_random(kind: str, how: settings) -> None:
    test, strategies = TRIES[kind]
    how(given(*strategies)(test))()


@pytest.mark.parametrize("kind", TRIES)
def test_sources(kind: str) -> None:
    try_at_random(kind, QUICK)


@pytest.mark.slow
def test_sources_for_a_minute() -> None:
    """Other sources in each run; a failure prints the smallest source that shows it."""
    end = time.monotonic() + SECONDS
    kinds = itertools.cycle(TRIES)
    rounds = 0
    while time.monotonic() < end or rounds < len(TRIES):
        try_at_random(next(kinds), ROUND)
        rounds += 1
