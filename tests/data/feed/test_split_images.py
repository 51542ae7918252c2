"""Shards to arrays: every JPEG decoded by hand, in one order, with Ray and without."""

import shutil
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysearch.core import UserError
from raysearch.data import feed, shards, synthetic
from raysearch.data.feed import DecodeSpec, RayDataDecoder, decoding
from raysearch.data.shards import ShardReader

SPEC = synthetic.SyntheticSpec(classes=4, train_per_class=6, test_per_class=3, side=32)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images in 8 shards."""
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"), rows_per_shard=5)


def by_hand(directory: Path, split: str, side: int) -> tuple[list[np.ndarray], list[int]]:
    rows = [row for file in directory.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    kept = sorted((row["label"], row["source"], row["image"]) for row in rows if row["split"] == split)
    decoded = [Image.open(BytesIO(image)).convert("RGB") for _, _, image in kept]
    if side != SPEC.side:
        decoded = [image.resize((side, side), Image.Resampling.BILINEAR) for image in decoded]
    return [np.array(image) for image in decoded], [label for label, _, _ in kept]


@pytest.mark.parametrize("side", [32, 20, 48])
def test_decoding_gives_each_jpeg_in_canonical_order(drawn: Path, side: int) -> None:
    sets = feed.decode_dataset(drawn, side)
    assert list(sets) == ["train", "test"]
    for split, count in (("train", 6), ("test", 3)):
        pixels, labels = by_hand(drawn, split, side)
        assert np.array_equal(sets[split].images, np.stack(pixels))
        assert sets[split].labels.tolist() == labels == [label for label in range(4) for _ in range(count)]
        assert sets[split].images.dtype == np.uint8
        assert sets[split].labels.dtype == np.int64


def test_decoded_images_are_the_drawn_ones_but_for_jpeg(drawn: Path) -> None:
    sets = feed.decode_dataset(drawn, SPEC.side)
    left = {split: iter(zip(sets[split].images, sets[split].labels, strict=True)) for split in sets}
    for split, label, _, image in synthetic.draw_images(SPEC):
        decoded, decoded_label = next(left[split])
        assert decoded_label == label
        assert abs(decoded.astype(float) - image).mean() < 4


def test_labels_come_before_sources_in_the_order(tmp_path: Path) -> None:
    def load(shade: int) -> bytes:
        return shards.encode_jpeg(Image.new("RGB", (8, 8), (shade, shade, shade)))

    samples = [
        shards.Sample(f"{number * 7 % 20:02d}.jpg", "ab"[number % 2], split, partial(load, number * 7 % 20 * 10))
        for split, numbers in (("train", range(12)), ("test", range(12, 20)))
        for number in numbers
    ]
    shards.write_shards(samples, tmp_path / "out", name="n", layout="folder", rows_per_shard=3)
    for split, part in feed.decode_dataset(tmp_path / "out", 8).items():
        rows = sorted((sample.label, int(sample.source[:2])) for sample in samples if sample.split == split)
        assert part.labels.tolist() == ["ab".index(label) for label, _ in rows]
        assert part.images[:, 0, 0, 0].tolist() == [source * 10 for _, source in rows]


def test_how_a_set_is_cut_into_shards_does_not_matter(drawn: Path, tmp_path: Path) -> None:
    expected, other = (
        feed.decode_dataset(drawn, 32),
        feed.decode_dataset(synthetic.ensure_shards(SPEC, tmp_path, rows_per_shard=100), 32),
    )
    assert all(np.array_equal(expected[split].images, other[split].images) for split in expected)


def test_a_data_set_needs_train_and_test(tmp_path: Path) -> None:
    for name, missing in (("test_per_class", "test"), ("train_per_class", "train")):
        directory = synthetic.ensure_shards(SPEC.model_copy(update={name: 0}), tmp_path)
        with pytest.raises(UserError, match=missing):
            feed.decode_dataset(directory, 32)
    with pytest.raises(UserError):
        feed.decode_dataset(tmp_path / "nothing here", 32)


def test_damage_is_said(drawn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(drawn, copy)
    victim = sorted(copy.glob("*.parquet"))[2]
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(UserError, match=victim.name):
        feed.decode_dataset(copy, 32)


def test_splits_share_one_array(drawn: Path) -> None:
    sets = feed.decode_dataset(drawn, 20)
    assert sets["train"].pixels is sets["test"].pixels
    assert sets["train"].pixels.shape == (36, 20, 20, 3)
    kept = sets["train"].subset(np.arange(24) % 2 == 0)
    assert kept.pixels is sets["train"].pixels  # what is held out of it costs no memory


@pytest.mark.parametrize("images_per_piece", [1, 5, 12, 35, 36, 100])
def test_pieces_read_like_one_array(drawn: Path, monkeypatch: pytest.MonkeyPatch, images_per_piece: int) -> None:
    monkeypatch.setattr(decoding, "CHUNK_ROWS", 7)
    reader, view = ShardReader(drawn, shards.read_manifest(drawn)), DecodeSpec(20)
    decode = feed.ThreadDecoder(reader, view)
    whole = feed.decode_all(decode, np.arange(36), view)
    pieces = list(feed.decode_pieces(decode, np.arange(36), view, images_per_piece * view.bytes + view.bytes // 2))
    assert [len(piece) for piece in pieces[:-1]] == [images_per_piece] * (len(pieces) - 1)
    assert 0 < len(pieces[-1]) <= images_per_piece
    assert np.array_equal(np.concatenate(pieces), whole)
    images = feed.ImagePieces(pieces)
    assert images.shape == whole.shape
    for rows in (np.arange(36), np.array([35, 0, 0, 17, 17, 1]), np.array([], np.int64), np.array([35])):
        assert np.array_equal(images[rows], whole[rows])
        out = np.zeros((len(rows), 20, 20, 3), np.uint8)
        assert np.take(images, rows, axis=0, out=out) is out
        assert np.array_equal(out, whole[rows])
    for wrong in (36, -1):
        with pytest.raises(IndexError):
            images[np.array([0, wrong])]
    divided = feed.split_rows(drawn)
    for split, subset in feed.image_sets(images, divided).items():
        assert np.array_equal(subset.images, whole[divided[split].rows])
        assert subset.side == 20
        assert not subset.streamed


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("own_process", [False, True])
def test_ray_decodes_the_same_bytes_in_the_same_order(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, own_process: bool
) -> None:
    monkeypatch.setattr(decoding, "CHUNK_ROWS", 5)
    shelf, view = ShardReader(drawn, shards.read_manifest(drawn)), DecodeSpec(20)
    rows = np.random.default_rng(0).integers(0, 36, 100)
    everything = decoding.decode_rows(shelf, view, np.arange(36))
    chunks = list(RayDataDecoder(shelf, view, own_process=own_process)(decoding.chunk_rows(rows, view)))
    assert [len(chunk) for chunk in chunks] == [5] * 20
    assert np.array_equal(np.concatenate(chunks), everything[rows])


@pytest.mark.usefixtures("cluster")
def test_damage_is_said_by_ray_too(drawn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(drawn, copy)
    shelf = ShardReader(copy, shards.read_manifest(copy))
    victim = sorted(copy.glob("*.parquet"))[2]
    victim.unlink()
    with pytest.raises(UserError, match=victim.name):
        feed.decode_all(RayDataDecoder(shelf, DecodeSpec(20)), np.arange(36), DecodeSpec(20))


@pytest.mark.usefixtures("cluster")
def test_a_pipeline_keeps_to_its_cpus_and_its_share_of_the_store(drawn: Path) -> None:
    import ray.data

    decode = RayDataDecoder(
        ShardReader(drawn, shards.read_manifest(drawn)), DecodeSpec(20), cpus=1, store_bytes=30 << 20
    )
    feed.decode_all(decode, np.arange(36), DecodeSpec(20))
    options = ray.data.DataContext.get_current().execution_options
    assert options.resource_limits.cpu == 1
    assert options.resource_limits.object_store_memory == 30 << 20
    assert options.preserve_order
