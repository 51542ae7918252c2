"""Shards that Ray's workers make are those that threads make, also when workers and drivers are killed meanwhile."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts, shards
from raysearch.data.shards import FileLoader

from ..layouts.test_hf_parquet import parquet
from ..layouts.test_webdataset import tar
from ..layouts.trees import put
from .test_ingest import start
from .test_resume import bytes_of, write
from .test_writer import jpeg

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def ray_of_two() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return put(tmp_path / "src", {f"{'ab'[i % 2]}/{i:04d}.jpg": jpeg(i) for i in range(60)})


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_the_same_bytes(workers: int | None, src: Path, tmp_path: Path) -> None:
    put(src, {"a/cut.jpg": jpeg(1)[:-300]})
    counted: list[int] = []
    manifest, _ = write(src, tmp_path / "out", executor=shards.RayExecutor(workers), progress=counted.append)
    assert sum(counted) == 61
    assert [bad.source for bad in manifest.corrupt] == ["a/cut.jpg"]
    write(src, tmp_path / "threads", executor=shards.ThreadExecutor(2))
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "threads")


@pytest.mark.parametrize("layout", ["parquet", "webdataset"])
def test_images_in_archives(layout: str, tmp_path: Path) -> None:
    images = [jpeg(n) for n in range(30)]
    (tmp_path / "src").mkdir()
    if layout == "parquet":
        parquet(tmp_path / "src" / "train.parquet", images, [n % 3 for n in range(30)])
    else:
        labels = {f"{n}.cls": b"%d" % (n % 3) for n in range(30)}
        tar(tmp_path / "src" / "train.tar", {f"{n}.jpg": image for n, image in enumerate(images)} | labels)
    for out, executor in (("out", shards.RayExecutor()), ("threads", shards.ThreadExecutor())):
        found = layouts.LAYOUTS[layout].read(str(tmp_path / "src"), None)
        shards.write_shards(
            found, tmp_path / out, name="n", layout=layout, rows_per_shard=4, on_corrupt="fail", executor=executor
        )
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "threads")
    assert sorted(shards.read_rows(tmp_path / "out", ["image"])["image"].to_pylist()) == sorted(images)


def test_a_corrupt_image_stops(src: Path, tmp_path: Path) -> None:
    put(src, {"b/cut.jpg": jpeg(1)[:-300]})
    with pytest.raises(UserError, match=r"b/cut.jpg is corrupt"):
        write(src, tmp_path / "out", executor=shards.RayExecutor(), on_corrupt="fail")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_node_that_does_not_see_src_stops(tmp_path: Path) -> None:
    sample = shards.Sample("0.jpg", "a", "train", FileLoader("/not/here", "0.jpg"))
    with pytest.raises(UserError, match=r"/not/here is not there on .*every node must see SRC"):
        shards.write_shards([sample], tmp_path / "out", name="n", layout="l", executor=shards.RayExecutor())


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    def sample(number: int, deaths: int) -> shards.Sample:
        def load() -> bytes:
            died = len(list(tmp_path.glob("death.*")))
            if died < deaths:
                (tmp_path / f"death.{died}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return data

        data = jpeg(number)
        return shards.Sample(f"{number}.jpg", "a", "train", load)

    def run(deaths: int, out: Path) -> shards.Manifest:
        samples = [sample(number, deaths if number == 5 else 0) for number in range(8)]
        return shards.write_shards(samples, out, name="n", layout="l", rows_per_shard=2, executor=shards.RayExecutor())

    assert run(1, tmp_path / "out") == run(0, tmp_path / "expected")
    assert len(list(tmp_path.glob("death.*"))) == 1
    with pytest.raises(UserError, match=r"a worker died 4 times at the images from 4\.jpg to 5\.jpg"):
        run(99, tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_ended_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    spec = "classes=20,train_per_class=20,test_per_class=20,side=24"
    out = tmp_path / "out"
    words = ("synthetic", spec, out, "--rows-per-shard", "4", "--workers", "2", "--name", "n")
    process = start(*words)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob(".*/notes/*"))) < 20:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    said, err = process.communicate(timeout=120)
    assert not out.exists()
    if how == signal.SIGTERM:
        assert (process.returncode, err) == (143, "")
        assert "interrupted: " in said
    last = start(*words[:-4], "--workers", "1", "--name", "n")
    said, err = last.communicate(timeout=120)
    assert (last.returncode, err) == (0, "")
    assert "resuming: " in said
    expected = start(*words[:2], tmp_path / "expected", *words[3:5], "--name", "n")
    assert expected.wait(timeout=120) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "expected")
    assert [path.name for path in tmp_path.glob(".*")] == []
