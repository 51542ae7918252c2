"""An ingest that is killed, at any moment and again and again, ends with the data that an undisturbed one has."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from raysearch.data import layouts, shards
from raysearch.data.shards import resume
from raysearch.data.shards.samples import canonical_order
from raysearch.data.shards.shard_builder import DATA_FOLDER, RECORDS_FOLDER, TEMPORARY_FOLDER, ShardSpec, plan_shards

from ..layouts.trees import picture, put
from .test_ingest import start
from .test_writer import jpeg

ROWS = 5


@pytest.fixture
def src(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {f"{'ab'[i % 2]}/{i:04d}.jpg": jpeg(i) for i in range(60)}
    return put(tmp_path / "src", files | {"a/cut.jpg": jpeg(1)[:-300], "b/grey.png": picture("L", "PNG")})


def write(src: Path, out: Path, **options) -> tuple[shards.Manifest, list[str]]:
    """The manifest, and what was said."""
    found, said = layouts.read_folder(str(src)), list[str]()
    asked = {"name": "n", "layout": "folder", "rows_per_shard": ROWS, "report": said.append} | options
    return shards.write_shards(found, out, **asked), said


def break_off(src: Path, out: Path, after: int) -> Path:
    """Write until so many images are done, then leave as on Ctrl-C; what is left."""
    done = 0

    def progress(number: int) -> None:
        nonlocal done
        done += number
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(src, out, progress=progress)
    (left,) = out.parent.glob(f".{out.name}.*")
    return left


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_finished_shards_are_not_made_again(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, said = write(src, tmp_path / "expected")
    assert said == []
    left = break_off(src, tmp_path / "out", after=32)
    assert len(list((left / RECORDS_FOLDER).iterdir())) == 6
    made: list[int] = []
    make = resume.save_record
    monkeypatch.setattr(resume, "save_record", lambda piece, *others: (made.append(piece.number), make(piece, *others)))
    manifest, said = write(src, tmp_path / "out")
    assert made == list(range(6, 13))
    assert said == ["resuming: 6 of 13 shards are finished"]
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "expected")
    assert manifest == expected == shards.verify_shards(tmp_path / "out")
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    "change", ["touched", "new", "gone", "damaged", "cut", "no note", "half a note", "half a shard"]
)
def test_only_what_is_whole_and_of_the_same_images_is_taken_over(change: str, src: Path, tmp_path: Path) -> None:
    left = break_off(src, tmp_path / "out", after=32)
    shard, note, stays = left / DATA_FOLDER / "00002.parquet", left / RECORDS_FOLDER / "00002.json", 5
    data = shard.read_bytes()
    if change == "touched":
        (src / "a/0020.jpg").write_bytes(jpeg(99))  # in the third shard
    elif change == "new":
        put(src, {"a/00000.jpg": jpeg(99)})
        stays = 0  # of another listing
    elif change == "gone":
        shard.unlink()
    elif change == "damaged":
        shard.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    elif change == "cut":
        shard.write_bytes(data[:-1])
    elif change == "no note":
        note.unlink()
    elif change == "half a note":
        note.write_bytes(note.read_bytes()[:50])
    else:
        (left / TEMPORARY_FOLDER / "x").write_bytes(data[:100])
        stays = 6
    manifest, said = write(src, tmp_path / "out")
    assert said == ([f"resuming: {stays} of 13 shards are finished"] if stays else [])
    assert manifest.content_hash == write(src, tmp_path / "expected")[0].content_hash
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "expected")


def test_shards_whose_images_are_all_corrupt_now_are_dropped(tmp_path: Path) -> None:
    src = put(tmp_path / "src", {f"a/{i:04d}.jpg": jpeg(i) for i in range(20)})
    (src / "b").mkdir()
    put(src, {f"b/{i}.jpg": jpeg(i) for i in range(3)})
    break_off(src, tmp_path / "out", after=12)
    for i in range(5):
        (src / f"a/{i:04d}.jpg").write_bytes(b"junk")
    manifest, _ = write(src, tmp_path / "out")
    assert [shard.file for shard in manifest.shards] == [f"0000{n}.parquet" for n in range(1, 5)]
    assert manifest.images == 18
    shards.verify_shards(tmp_path / "out")
    assert not (tmp_path / "out" / "00000.parquet").exists()


def test_what_cannot_say_where_it_comes_from_is_not_noted(tmp_path: Path) -> None:
    samples = [shards.Sample(f"{i}.jpg", "a", "train", lambda: jpeg(1)) for i in range(3)]
    assert resume.input_digest(next(plan_shards(*canonical_order(samples, None), 3))) is None


def test_a_note_speaks_of_label_split_source_and_image(src: Path) -> None:
    def hashed(**changes: object) -> str | None:
        sample = next(iter(layouts.read_folder(str(src))))._replace(**changes)
        return resume.input_digest(ShardSpec(0, [sample], {"a": 0, "b": 1}))

    other = list(layouts.read_folder(str(src)))[3].load
    found = [hashed(), hashed(label="b"), hashed(split="val"), hashed(source="x"), hashed(load=other)]
    assert len(set(found)) == len(found)
    assert hashed() == found[0]


def started_and_killed(words: tuple[object, ...], seconds: float) -> None:
    process: subprocess.Popen[str] = start(*words)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Real processes; the moments spread from before the first shard to about the end."""
    spec = "classes=10,train_per_class=20,test_per_class=20,side=24"
    words = ("synthetic", spec, tmp_path / "out", "--rows-per-shard", "4", "--name", "n")
    started = time.monotonic()
    process = start(*words[:2], tmp_path / "expected", *words[3:])
    _, err = process.communicate(timeout=60)
    whole = time.monotonic() - started
    assert process.returncode == 0, err
    moments = np.random.default_rng(os.getpid()).uniform(0.4, 0.9, 3)
    for moment in moments:
        started_and_killed(words, moment * whole)
        if (tmp_path / "out").exists():
            break
    last = start(*words)
    _, err = last.communicate(timeout=60)
    assert last.returncode == 0, (moments, err)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "expected")
    assert [path.name for path in tmp_path.glob(".*")] == []
