"""The account: whatever is in SRC is read, used, or counted by its reason, in every layout and by every command."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysearch.core import UserError
from raysearch.data import image_sources, layouts, shards, source_tree
from raysearch.data.reading_account import ReadingAccount, Unused, group_unused

from .layouts import test_cub, test_dogs
from .layouts.trees import picture, put

ROOT = Path(__file__).parents[2]


def ingest(*words: object, **environment: str) -> tuple[int, str, str]:
    """Run an ingest as a process of its own: its code, output and errors."""
    command = [sys.executable, "-m", "raysearch.ingest", *map(str, words)]
    path = os.pathsep.join(filter(None, (str(ROOT), environment.pop("PYTHONPATH", ""))))
    env = {**os.environ, **environment, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    return done.returncode, done.stdout, done.stderr


def class_folders(src: Path, number: int = 4) -> Path:
    return put(src, {f"{label}/{n}.jpg": picture() for label in ("owl", "wren") for n in range(number)})


def left_out(src: Path, layout: str = "folder", **options: bool) -> dict[str, tuple[str, ...]]:
    account = layouts.read_source(layouts.LAYOUTS[layout], str(src), **options)[1]  # type: ignore[arg-type]
    return {entry.reason: entry.first for entry in account.left_out}


def everything(root: Path) -> set[str]:
    """All paths below a folder that are no folders, and folders without anything; links are not entered."""
    paths = set()
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        paths |= {(here / name).as_posix() for name in files}
        paths |= {(here / name).as_posix() for name in folders if (Path(folder) / name).is_symlink()}
        if not folders and not files:
            paths.add(here.as_posix())
    return paths


def test_all_that_is_left_out_has_its_reason(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    outside = put(tmp_path / "elsewhere", {"secret.jpg": picture(), "folder/1.jpg": picture()})
    put(
        src,
        {
            "readme.md": "",
            "loose.jpg": picture(),
            "owl/notes.txt": "",
            "owl/movie.mpg": "",
            "owl/phone.heic": "",
            "owl/all.zip": "",
            "owl/LICENSE": "",
            ".DS_Store": "",
            "owl/._1.jpg": "",
            "@eaDir/1.jpg": "",
            "__MACOSX/owl/1.jpg": "",
            "wren/Thumbs.db": "",
        },
    )
    (src / "wren/nowhere.jpg").symlink_to("gone.jpg")
    (src / "wren/out.jpg").symlink_to(outside / "secret.jpg")
    (src / "wren/also.jpg").symlink_to("../owl/0.jpg")
    os.mkfifo(src / "wren/pipe.jpg")
    account = layouts.read_source(layouts.LAYOUTS["folder"], str(src))[1]
    assert account.read == 9
    assert {(entry.kind, entry.reason): entry.number for entry in account.left_out} == {
        ("file", "hidden, or left by a file manager"): 5,
        ("file", "the ending .md is not read"): 1,
        ("file", "the ending .txt is not read"): 1,
        ("file", "not a photograph: .mpg is a video"): 1,
        ("file", "Pillow reads .heic with a plugin: pip install pillow-heif"): 1,
        ("file", "an archive, which has to be unpacked"): 1,
        ("file", "a name without an ending"): 1,
        ("file", "an image where the layout does not look for any"): 1,
        ("file", "a link that leads nowhere"): 1,
        ("file", "a link that leads out of the source"): 1,
        ("file", "neither a file nor a folder"): 1,
    }
    assert account.read + account.number_left_out == len(everything(src))


def test_the_command_prints_keeps_and_refuses_it(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    put(src, {"owl/notes.txt": "", "owl/cut.jpg": picture()[:100]})
    code, out, err = ingest("folder", src, tmp_path / "out")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "images 8 read" in lines
    assert "files 1 left out: the ending .txt is not read owl/notes.txt" in lines
    account = shards.read_manifest(tmp_path / "out").account
    assert account is not None
    assert (account.read, account.number_left_out) == (8, 2)
    code, _, err = ingest("folder", src, tmp_path / "strict", "--strict")
    assert (code, err.count("\n"), (tmp_path / "strict").exists()) == (2, 1, False)
    assert "1 file (the ending .txt is not read: owl/notes.txt)" in err
    (src / "owl/notes.txt").unlink()
    code, _, err = ingest(
        "folder", src, tmp_path / "strict", "--strict"
    )  # the corrupt one is known after decoding only
    assert (code, "owl/cut.jpg" in err, (tmp_path / "strict").exists()) == (2, True, False)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    (src / "owl/cut.jpg").unlink()
    assert ingest("folder", src, tmp_path / "strict", "--strict")[0] == 0


def test_a_manifest_without_an_account_is_read(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    assert ingest("folder", src, tmp_path / "out")[0] == 0
    path = tmp_path / "out/manifest.json"
    fields = json.loads(path.read_text())
    del fields["account"]
    path.write_text(json.dumps(fields))
    assert shards.read_manifest(tmp_path / "out").account is None
    code, out, _ = ingest("folder", src, tmp_path / "out")
    assert code == 0
    assert "images 8 read" in [" ".join(line.split()) for line in out.splitlines()]
    assert "holds the same data already" in out


@pytest.mark.parametrize(("layout", "annotation"), [("cub", "bounding_boxes.txt"), ("dogs", "Annotation")])
def test_lists_and_annotations_of_a_release_are_used(layout: str, annotation: str, tmp_path: Path) -> None:
    {"cub": test_cub, "dogs": test_dogs}[layout].tree(tmp_path)
    put(tmp_path, {"README": ""})
    account = layouts.read_source(layouts.LAYOUTS[layout], str(tmp_path))[1]
    assert any(path.endswith(annotation) for path in account.used)
    counted = {name for entry in account.left_out if entry.kind == "file" for name in entry.first}
    assert counted == {"README", {"cub": "attributes.txt", "dogs": "images.tar"}[layout]}


def test_pillows_formats_are_read_but_not_drawings(tmp_path: Path) -> None:
    endings = [
        "jfif",
        "JPE",
        "avif",
        "jp2",
        "bmp",
        "dib",
        "tga",
        "pcx",
        "sgi",
        "qoi",
        "apng",
        "pnm",
        "webp",
        "gif",
        "tiff",
    ]
    for label in ("owl", "wren"):
        (tmp_path / label).mkdir()
        for ending in endings:
            kind = {"apng": "PNG"}.get(ending)
            Image.new("RGB", (16, 16), (90, 40, 200)).save(tmp_path / label / f"a.{ending}", kind)
        for ending in ("pdf", "eps", "ico"):
            Image.new("RGB", (16, 16)).save(tmp_path / label / f"b.{ending}")
    listing, account = layouts.read_source(layouts.LAYOUTS["folder"], str(tmp_path))
    assert len(listing) == 2 * len(endings)
    assert {entry.reason: entry.number for entry in account.left_out} == {
        "not a photograph: .pdf is a document": 2,
        "not a photograph: .eps is a drawing, which needs Ghostscript": 2,
        "not a photograph: .ico is an icon in several sizes": 2,
    }
    found = image_sources.find_images(tmp_path)
    assert (found.total, found.account.number_left_out) == (2 * len(endings), 6)


def test_heic_is_read_with_its_plugin(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    put(src, {"owl/phone.heic": b"P6 4 4 255\n" + bytes(48), "wren/phone.HEIC": b"P6 4 4 255\n" + bytes(48)})
    plugin = """
from PIL import Image, PpmImagePlugin

class Heif(PpmImagePlugin.PpmImageFile):
    format = "HEIF"

def register_heif_opener():
    Image.register_open("HEIF", Heif, lambda prefix: prefix.startswith(b"P6"))
    Image.register_extension("HEIF", ".heic")
"""
    put(tmp_path / "plugin", {"pillow_heif.py": plugin})
    code, _, err = ingest("folder", src, tmp_path / "out", "--strict", PYTHONPATH=str(tmp_path / "plugin"))
    assert (code, err) == (0, "")
    assert shards.read_manifest(tmp_path / "out").images == 10
    assert "pip install pillow-heif" in ingest("folder", src, tmp_path / "other", COLUMNS="200")[1]


def plain_folders(src: Path) -> None:
    class_folders(src)


def part_folders(src: Path) -> None:
    put(src, {f"{part}/{label}/0.jpg": picture() for part in ("train", "test") for label in ("owl", "wren")})


def listed_images(src: Path) -> None:
    class_folders(src)
    put(src, {"split.csv": "path,label,split\nowl/0.jpg,owl,train\nwren/0.jpg,wren,test\n"})


def few_shot_folders(src: Path) -> None:
    put(src, {f"{part}/{part}{n}/{i}.jpg": picture() for part in ("train", "val", "test") for n in "ab" for i in "01"})


def parquet_file(src: Path) -> None:
    src.mkdir()
    images = [{"bytes": picture(), "path": None} for _ in range(6)]
    pq.write_table(pa.table({"image": images, "label": [0, 0, 0, 1, 1, 1]}), src / "a.parquet")


def tar_file(src: Path) -> None:
    src.mkdir()
    with tarfile.open(src / "a.tar", "w") as tar:
        for number in range(6):
            for ending, data in (("jpg", picture()), ("cls", str(number % 2).encode())):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("inner", ["shards", "validation", "owl/shards"])
@pytest.mark.parametrize(
    ("layout", "fill"),
    [
        ("folder", plain_folders),
        ("folder", part_folders),
        ("folder", listed_images),
        ("fewshot", few_shot_folders),
        ("parquet", parquet_file),
        ("webdataset", tar_file),
    ],
)
def test_a_data_set_in_the_source_is_no_source(
    layout: str, fill: Callable[[Path], None], inner: str, tmp_path: Path
) -> None:
    """OUT may be in SRC: the next ingest reads the same images, not what the first one wrote."""
    src = tmp_path / "src"
    fill(src)
    out = src / inner
    listing, account = layouts.read_source(layouts.LAYOUTS[layout], str(src))
    shards.write_shards(
        listing, tmp_path / "out", name="n", layout=layout, classes=listing.classes, account=account, rows_per_shard=2
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out").rename(out)
    again, second = layouts.read_source(layouts.LAYOUTS[layout], str(src))
    assert [sample[:3] for sample in again] == [sample[:3] for sample in listing]
    assert again.classes == listing.classes
    assert left_out(src, layout)[source_tree.DATA_SET] == (inner,)
    others = tuple(entry for entry in second.left_out if entry.reason != source_tree.DATA_SET)
    assert others == account.left_out
    assert second.used == account.used
    with pytest.raises(UserError, match="is a data set of shards already"):
        layouts.read_source(layouts.LAYOUTS[layout], str(out))


def test_a_manifest_of_others_is_a_file(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    put(src, {"owl/manifest.json": '{"shards": 3}', "wren/manifest.json": "[" * 9_000})
    found = left_out(src)
    assert found["the ending .json is not read"] == ("owl/manifest.json", "wren/manifest.json")
    assert source_tree.DATA_SET not in found
    assert image_sources.find_images(src).total == 8


def test_a_data_set_in_a_folder_is_not_indexed(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    assert ingest("folder", src, src / "shards")[0] == 0
    found = image_sources.find_images(src)
    assert (found.total, found.account.number_left_out) == (8, 1)
    code, text, err = ingest("folder", src, src / "shards")
    assert (code, "holds the same data already" in text) == (0, True), err
    code, _, err = ingest("folder", src, tmp_path / "out", "--strict")
    assert (code, source_tree.DATA_SET in err) == (2, True)


def test_links_out_of_the_source_need_a_flag(tmp_path: Path) -> None:
    store = class_folders(tmp_path / "store")
    src = tmp_path / "src"
    src.mkdir()
    for label in ("owl", "wren"):
        (src / label).symlink_to(store / label)
    code, _, err = ingest("folder", src, tmp_path / "out")
    assert code == 2
    assert "--follow-links reads them" in err
    code, _, err = ingest("folder", src, tmp_path / "out", "--follow-links", "--strict")
    assert (code, err) == (0, "")
    plain = ingest("folder", store, tmp_path / "plain")
    assert plain[0] == 0
    hashes = [shards.read_manifest(tmp_path / name).content_hash for name in ("out", "plain")]
    assert hashes[0] == hashes[1]
    (tmp_path / "link").symlink_to(store)  # SRC itself may be a link
    assert ingest("folder", tmp_path / "link", tmp_path / "third", "--strict")[0] == 0


def test_a_download_of_the_hub_links_to_its_own_files(tmp_path: Path) -> None:
    hub = put(tmp_path / "datasets--a--b", {f"blobs/{label}{n}": picture() for label in "ab" for n in range(4)})
    src = hub / "snapshots/0123"
    for label in "ab":
        (src / label).mkdir(parents=True)
        for number in range(4):
            (src / label / f"{number}.jpg").symlink_to(f"../../../blobs/{label}{number}")
    listing, account = layouts.read_source(layouts.LAYOUTS["folder"], str(src))
    assert (len(listing), account.left_out) == (8, ())


def test_links_in_circles_end(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    (src / "extra").mkdir()
    (src / "extra/up").symlink_to(src)
    (src / "extra/self").symlink_to(src / "extra")
    reasons = {entry.path: entry.reason for entry in source_tree.walk(src) if entry.reason}
    assert reasons == {"extra/up": "a link to a folder above it", "extra/self": "a link to a folder above it"}
    assert image_sources.find_images(src).total == 8


def test_empty_folders_and_unreadable_names_are_counted(tmp_path: Path) -> None:
    src = class_folders(tmp_path / "src")
    (src / "deep/er").mkdir(parents=True)
    (Path(os.fsdecode(os.fsencode(src) + b"/owl/\xff.txt"))).touch()
    account = image_sources.find_images(src).account
    assert {(entry.kind, entry.reason): entry.first for entry in account.left_out} == {
        ("folder", "an empty folder"): ("deep/er",),
        ("file", "the ending .txt is not read"): ("owl/\\udcff.txt",),
    }
    account.model_dump_json()


def test_no_images_names_the_endings(tmp_path: Path) -> None:
    put(tmp_path / "raw", {f"{n}.cr2": "" for n in range(3)} | {"a.pdf": ""})
    expected = r"holds no images, .*3 files \(the ending .cr2 is not read: 0.cr2, 1.cr2, 2.cr2\)"
    with pytest.raises(UserError, match=expected):
        image_sources.find_images(tmp_path / "raw")


def test_groups_are_few_whatever_the_reasons() -> None:
    unused = [Unused("row", f"row {n}", f"reason {'x' * n}") for n in range(1, 200)] * 2
    groups = group_unused(unused)
    assert len(groups) == 41
    assert sum(group.number for group in groups) == 398
    account = ReadingAccount(read=0).complete(1, [shards.Corrupt(source="a.jpg", reason="line 3 is wrong")])
    account = account.complete(1, [shards.Corrupt(source="b.jpg", reason="line 70 is wrong")])
    assert [(group.number, group.first) for group in account.left_out] == [(2, ("a.jpg", "b.jpg"))]
