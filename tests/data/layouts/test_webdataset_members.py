"""Tar files as people have them: concatenated, compressed, with links, odd names, and several images per key."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from raysearch.core import UserError
from raysearch.data import layouts
from raysearch.data.layouts import Listing

from .trees import picture, reasons, rows, written

Members = Sequence[tuple[str, bytes]]


def tar_bytes(members: Members, **options: int) -> bytes:
    """A tar file; unlike a dict, the members may have one name several times."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(src: Path) -> Listing:
    return layouts.read_source(layouts.LAYOUTS["webdataset"], str(src))[0]


def left_out(src: Path) -> dict[str, int]:
    """Reason -> number of what the account says was left out; corrupt images are not in it yet."""
    account = layouts.read_source(layouts.LAYOUTS["webdataset"], str(src))[1]
    return {entry.reason: entry.number for entry in account.left_out}


def shard(label: str, red: int) -> Members:
    photo = picture(red=(0, 0, red, 8))
    return [(f"{n:06d}.{end}", data) for n in range(2) for end, data in (("jpg", photo), ("cls", label.encode()))]


def neighbors(members: Members) -> list[tuple[str, str]]:
    """WebDataset's grouping, written again: (image, label) of each run of one key."""
    runs: list[tuple[str, dict[str, bytes]]] = []
    for name, data in members:
        key, _, kind = name.partition(".")
        if not runs or runs[-1][0] != key or kind in runs[-1][1]:
            runs.append((key, {}))
        runs[-1][1][kind] = data
    return [(key, fields["cls"].decode()) for key, fields in runs if {"jpg", "cls"} <= fields.keys()]


@pytest.mark.parametrize("marker", ["without", "with", "blocks"])
def test_two_shards_in_one_file_keep_their_labels(marker: str, tmp_path: Path) -> None:
    first, second = shard("owl", 2), shard("wren", 6)
    one, two = tar_bytes(first), tar_bytes(second)
    if marker == "without":  # what tar -A makes
        (tmp_path / "train.tar").write_bytes(one)
        (tmp_path / "b.tar").write_bytes(two)
        subprocess.run(["tar", "-A", "-f", tmp_path / "train.tar", tmp_path / "b.tar"], check=True)
        (tmp_path / "b.tar").unlink()
    else:  # what cat makes
        (tmp_path / "train.tar").write_bytes(one + (b"\0" * 51200 if marker == "blocks" else b"") + two)
    found = read(tmp_path)
    assert Counter(sample.label for sample in found) == {"owl": 2, "wren": 2}
    assert [label for _, label in neighbors([*first, *second])] == [sample.label for sample in found]
    data = {sample.source: sample.load() for sample in found}
    assert data["train.tar/000000.jpg"] == first[0][1]
    assert data["train.tar/000000.jpg (2)"] == second[0][1]
    assert not found.corrupt


def test_a_key_that_returns_is_another_sample(tmp_path: Path) -> None:
    photo = picture()
    members = [("a.jpg", photo), ("a.cls", b"0"), ("a.jpg", photo), ("a.cls", b"1"), ("b.jpg", photo), ("c.cls", b"5")]
    members += [("a.png", photo), ("b.cls", b"2"), ("d.jpg", photo), ("d.cls", b"1"), ("e.jpg", photo), ("e.cls", b"0")]
    (tmp_path / "train.tar").write_bytes(tar_bytes(members))
    found = read(tmp_path)
    assert rows(found) == {
        ("train.tar/a.jpg", "0", "train"),
        ("train.tar/a.jpg (2)", "1", "train"),
        ("train.tar/d.jpg", "1", "train"),
        ("train.tar/e.jpg", "0", "train"),
    }
    assert reasons(found)["train.tar/b.jpg"].startswith("no b.cls or b.json with a label beside it; one is elsewhere")
    assert reasons(found)["train.tar/a.png"] == "no a.cls or a.json with a label beside it"
    assert left_out(tmp_path) == {"a label without an image beside it": 2}


def test_names_with_dots(tmp_path: Path) -> None:
    photos = [picture(red=(0, 0, n, 8)) for n in range(1, 6)]
    members = [
        ("22.05.jpg", photos[0]),
        ("22.05.cls", b"owl"),
        ("22.06.jpg", photos[1]),
        ("22.06.cls", b"wren"),
        ("x/a.b/31.12.2020.JPG", photos[2]),
        ("x/a.b/31.cls", b"auk"),
        ("y.seg.png", photos[3]),
        ("y.jpg", photos[4]),
        ("y.cls", b"owl"),
    ]
    (tmp_path / "test.tar").write_bytes(tar_bytes(members))
    found = read(tmp_path)
    assert {(sample.source, sample.label, sample.load()) for sample in found} == {
        ("test.tar/22.05.jpg", "owl", photos[0]),
        ("test.tar/22.06.jpg", "wren", photos[1]),
        ("test.tar/x/a.b/31.12.2020.JPG", "auk", photos[2]),
        ("test.tar/y.jpg", "owl", photos[4]),
    }
    assert left_out(tmp_path) == {"another image of a key that has one": 1}
    assert not found.corrupt


def test_members_that_are_not_read_are_counted(tmp_path: Path) -> None:
    photo = picture()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))

        long_name = "d/" * 60 + "ü" * 60  # more than a plain header holds
        add(f"{long_name}.jpg", photo)
        add(f"{long_name}.cls", b"owl")
        add("._1.jpg", b"Mac OS X")
        add("1.jpg", photo)
        add("1.png", photo)
        add("1.cls", b"owl")
        add("1.txt", b"an owl")
        add("2.jpg", type=tarfile.LNKTYPE, linkname="1.jpg")
        add("2.cls", b"owl")
        add("3.jpg", type=tarfile.SYMTYPE, linkname="1.jpg")
        add("4.jpg", type=tarfile.FIFOTYPE)
        add("folder", type=tarfile.DIRTYPE)
        add("README", b"text")
    (tmp_path / "val.tar").write_bytes(file.getvalue())
    found = read(tmp_path)
    assert rows(found) == {("val.tar/1.jpg", "owl", "val"), (f"val.tar/{long_name}.jpg", "owl", "val")}
    assert [sample.load() for sample in found] == [photo, photo]
    assert left_out(tmp_path) == {
        "hidden, or left by a file manager": 1,
        "another image of a key that has one": 1,
        "a member with the ending .txt": 1,
        "a hard link in the archive": 1,
        "a label without an image beside it": 1,
        "a symbolic link in the archive": 1,
        "a device or pipe in the archive": 1,
        "a member without an ending": 1,
    }


def test_a_sparse_member_is_not_read_as_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / "1.jpg").open("wb") as file:
        file.write(picture())
        file.truncate(1 << 20)
    (folder / "1.cls").write_text("owl")
    (tmp_path / "src").mkdir()
    subprocess.run(["tar", "-S", "-cf", tmp_path / "src/train.tar", "-C", folder, "1.jpg", "1.cls"], check=True)
    with tarfile.open(tmp_path / "src/train.tar") as tar:
        if not tar.getmember("1.jpg").issparse():
            pytest.skip("this file system keeps no holes")
    assert not read(tmp_path / "src").samples
    assert left_out(tmp_path / "src")["a sparse file in the archive"] == 1


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        ("tar.gz", gzip.compress),
        ("TGZ", gzip.compress),
        ("tar.bz2", bz2.compress),
        ("tar.xz", lzma.compress),
        ("tar.zst", _zstd),
    ],
)
def test_compressed_archives_are_the_same_data_set(
    ending: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    members = [*shard("owl", 3), *shard("wren", 5)]
    for name, data in (("plain", tar_bytes(members)), ("packed", compress(tar_bytes(members)))):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"train.{'tar' if name == 'plain' else ending}").write_bytes(data)
    plain, packed = read(tmp_path / "plain"), read(tmp_path / "packed")
    assert layouts.detect_layout(str(tmp_path / "packed"))[0].name == "webdataset"
    assert [(one.label, one.load()) for one in packed] == [(one.label, one.load()) for one in plain]
    cut = compress(tar_bytes(members))
    (tmp_path / "packed" / f"train.{ending}").write_bytes(cut[: len(cut) // 2])
    assert "it breaks off after" in reasons(read(tmp_path / "packed"))[f"train.{ending}"]


def test_damage_is_named_and_what_was_before_it_is_read(tmp_path: Path) -> None:
    whole = tar_bytes(shard("owl", 3))
    for name, data, reason in (
        ("garbage", whole + b"not a tar" * 100, "bytes that are no archive follow its end"),
        ("header", whole.replace(b"000001.cls", b"\xff" * 10, 1), "no header at byte"),
        ("cut", whole[:3000], "it breaks off after"),
    ):
        src = tmp_path / name
        src.mkdir()
        (src / "train.tar").write_bytes(data)
        found = read(src)
        assert reason in reasons(found)["train.tar"], name
        assert ("train.tar/000000.jpg", "owl", "train") in rows(found)


def test_hostile_labels_leave_out_one_image_each(tmp_path: Path) -> None:
    photo = picture()
    members = [("1.jpg", photo), ("1.json", b"[" * 200_000)]
    members += [("2.jpg", photo), ("2.json", b'{"label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")]
    members += [("3.jpg", photo), ("3.cls", b"x" * ((1 << 20) + 1)), ("4.jpg", photo), ("4.cls", b"owl")]
    members += [("5.jpg", photo), ("5.json", json.dumps({"label": "wren"}).encode())]
    (tmp_path / "train.tar").write_bytes(tar_bytes(members))
    found = read(tmp_path)
    assert {sample.label for sample in found} == {"owl", "wren"}
    assert "more than a label may have" in reasons(found)["train.tar/3.jpg"]
    assert reasons(found).keys() == {f"train.tar/{n}.jpg" for n in (1, 2, 3)}


@pytest.mark.parametrize("ending", ["cls", "jpg"])
def test_a_header_that_claims_a_tebibyte(ending: str, tmp_path: Path) -> None:
    members = [*shard("owl", 3), ("9.jpg", picture()), ("9.cls", b"owl")]
    data = bytearray(tar_bytes(members, format=tarfile.GNU_FORMAT))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        info = tar.getmember(f"9.{ending}")
    info.size = 1 << 40
    data[info.offset : info.offset + 512] = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "train.tar").write_bytes(bytes(data))
    found = read(tmp_path)
    assert {sample.source for sample in found} == {"train.tar/000000.jpg", "train.tar/000001.jpg"}
    assert "is longer than the file" in reasons(found)["train.tar"]
    assert written(Listing(found.samples), tmp_path / "out").images == 2


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    photo = picture()
    members = [("\udcff.jpg", photo), ("\udcff.cls", b"owl"), ("1.jpg", photo), ("1.cls", b"owl")]
    (tmp_path / "train.tar").write_bytes(tar_bytes(members, format=tarfile.GNU_FORMAT))
    found = read(tmp_path)
    assert reasons(found) == {"train.tar/\\udcff.jpg": "the member's name is not UTF-8"}
    assert rows(found) == {("train.tar/1.jpg", "owl", "train")}


def test_an_empty_tar_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"")
    with pytest.raises(UserError, match="has no layout that auto knows"):
        layouts.detect_layout(str(tmp_path))
    assert "it breaks off after 0 images" in reasons(read(tmp_path))["train.tar"]
