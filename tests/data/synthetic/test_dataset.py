"""The embedded data set: the same images whoever draws them, and classes that differ in small parts only."""

import hashlib
import subprocess
import sys
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from raysearch.core import UserError
from raysearch.data import layouts, shards, synthetic
from raysearch.data.synthetic import SyntheticSpec, marks

SMALL = SyntheticSpec(classes=4, train_per_class=3, test_per_class=2, side=32)


def one(key: tuple[str, int, int]) -> str:
    split, label, index = key
    image = synthetic.draw_image(
        synthetic.class_traits(SMALL)[label], SMALL, synthetic.image_generator(SMALL, split, label, index)
    )
    return hashlib.sha256(image.tobytes()).hexdigest()


def hashes() -> dict[tuple[str, int, int], str]:
    return {(s, label, i): hashlib.sha256(a.tobytes()).hexdigest() for s, label, i, a in synthetic.draw_images(SMALL)}


def test_the_same_images_in_other_processes_and_in_another_order() -> None:
    expected = hashes()
    assert len(set(expected.values())) == 4 * 5
    keys = list(expected)[::-1]
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(one, keys) == [expected[key] for key in keys]


@pytest.mark.parametrize("mark", [0.0, 0.5])
def test_a_new_interpreter_draws_the_same(mark: float, tmp_path: Path) -> None:
    # another process with another hash seed: no order of a set or a dict gets into a picture
    code = (
        "from raysearch.data import shards, synthetic as s;"
        f"spec = s.parse_spec('classes=4,train_per_class=3,test_per_class=2,side=32,mark={mark}');"
        "print(shards.write_shards(s.list_samples(spec),"
        f"{str(tmp_path / 'other')!r},name='n',layout='l').content_hash)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = shards.read_manifest(synthetic.ensure_shards(SMALL.model_copy(update={"mark": mark}), tmp_path))
    assert child.stdout.strip() == here.content_hash


def test_images_do_not_depend_on_how_many_there_are() -> None:
    expected = hashes()
    more = SMALL.model_copy(update={"classes": 6, "train_per_class": 5})
    got = {(s, label, i): hashlib.sha256(a.tobytes()).hexdigest() for s, label, i, a in synthetic.draw_images(more)}
    assert expected.items() <= got.items()
    other = SMALL.model_copy(update={"seed": 1})
    assert not {hashlib.sha256(a.tobytes()).hexdigest() for *_, a in synthetic.draw_images(other)} & set(
        expected.values()
    )


def test_images_are_what_they_say() -> None:
    split, label, index, image = next(synthetic.draw_images(SMALL))
    assert (split, label, index, image.shape, image.dtype) == ("train", 0, 0, (32, 32, 3), np.uint8)
    assert image.std() > 10
    names = synthetic.class_names(SyntheticSpec(classes=500))
    assert list(names) == sorted(set(names))


def test_any_two_classes_differ_in_three_parts() -> None:
    kinds = synthetic.class_traits(SyntheticSpec(classes=60))
    assert min(sum(x != y for x, y in zip(a, b, strict=True)) for a, b in combinations(kinds, 2)) >= 3
    for name, levels in synthetic.LEVELS.items():  # and every level of every part is used
        assert {getattr(kind, name) for kind in kinds} == set(range(len(levels)))


def test_another_class_changes_few_pixels_of_the_same_scene() -> None:
    spec = SyntheticSpec(classes=10, clutter=0.0)
    kinds = synthetic.class_traits(spec)
    scenes = [
        np.stack([synthetic.draw_image(k, spec, np.random.default_rng(seed)) for k in kinds]) for seed in range(3)
    ]
    for a, b in combinations(range(spec.classes), 2):
        changed = np.mean([(np.abs(s[a].astype(int) - s[b]).max(-1) > 8).mean() for s in scenes])
        assert 0.002 < changed < 0.15, (a, b, changed)


def test_every_level_of_every_part_shows() -> None:
    spec = SyntheticSpec(clutter=0.0, light=0.0, pose=0.0)
    base = synthetic.class_traits(spec)[0]
    for name, levels in synthetic.LEVELS.items():
        drawn = [
            synthetic.draw_image(base._replace(**{name: level}), spec, np.random.default_rng(0)).astype(int)
            for level in range(len(levels))
        ]
        for a, b in combinations(drawn, 2):
            assert (np.abs(a - b).max(-1) > 20).sum() >= 3, name


def test_distinctness_makes_classes_alike() -> None:
    def apart(distinctness: float) -> float:
        spec = SyntheticSpec(classes=6, distinctness=distinctness)
        drawn = [
            synthetic.draw_image(k, spec, np.random.default_rng(5)).astype(int) for k in synthetic.class_traits(spec)
        ]
        return float(np.mean([np.abs(a - b).mean() for a, b in combinations(drawn, 2)]))

    assert apart(0.0) == 0
    assert 0 < apart(0.4) < apart(1.0)


MARKED = SMALL.model_copy(update={"mark": 1.0})


def test_marks_are_on_train_birds_alone_and_leave_the_rest_of_the_image() -> None:
    for plain, marked in zip(synthetic.draw_images(SMALL), synthetic.draw_images(MARKED), strict=True):
        changed = (np.abs(plain[-1].astype(int) - marked[-1]).max(-1) > 0).mean()
        assert plain[:-1] == marked[:-1]
        assert (0.005 < changed < 0.1) if plain[0] == "train" else changed == 0, (plain[:-1], changed)


def test_no_light_and_no_leaf_changes_the_colors_of_a_mark() -> None:
    spec = SyntheticSpec(classes=40, train_per_class=2, test_per_class=0, clutter=2.0, mark=1.0)
    for _, label, _, image in synthetic.draw_images(spec):
        for color in marks.mark_colors(label):
            assert (image == color).all(-1).any(), (label, color)


def test_the_mark_gives_the_class_away_in_training_alone() -> None:
    """The colors around the mark's place name the class by the nearest mean, until the marks are those of any class."""

    def _accuracy(share: float) -> float:
        spec = SyntheticSpec(classes=8, train_per_class=30, test_per_class=0, mark=share, pose=0.0, light=0.0, side=32)
        drawn = [(image[13:25, 17:27].astype(float), label) for _, label, _, image in synthetic.draw_images(spec)]
        patches, labels = (np.array(values) for values in zip(*drawn, strict=True))
        half = np.arange(len(labels)) % 2 == 0
        return nearest_mean(patches[half], labels[half], patches[~half], labels[~half])

    unmarked = _accuracy(0.0)
    assert _accuracy(1.0) > 0.9 > 2 * unmarked
    assert unmarked < _accuracy(0.5) < 0.9


def test_a_share_of_marks_is_of_other_classes() -> None:
    spec = SyntheticSpec(classes=40, mark=0.7)
    own = [synthetic.image_mark(spec, "train", label, index) == label for label in range(40) for index in range(30)]
    assert 0.66 < np.mean(own) < 0.77
    assert synthetic.image_mark(spec, "test", 0, 0) is None
    assert synthetic.image_mark(SyntheticSpec(), "train", 0, 0) is None


def test_forty_classes_have_forty_marks() -> None:
    assert len({marks.mark_colors(label) for label in range(40)}) == 40


def test_other_drawings_of_marks_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [synthetic.ensure_shards(spec, tmp_path) for spec in (SMALL, MARKED)]
    monkeypatch.setattr(marks, "DRAWING", marks.DRAWING + 1)
    plain, marked = (synthetic.ensure_shards(spec, tmp_path) for spec in (SMALL, MARKED))
    assert plain == before[0]
    assert marked not in before


def test_readers_of_results_are_told_of_the_planted_effect(tmp_path: Path) -> None:
    marked = synthetic.ensure_shards(MARKED, tmp_path)
    plain = synthetic.ensure_shards(SMALL, tmp_path)
    assert marked != plain
    (warning,) = shards.read_manifest(marked).warnings
    assert "an effect of erasing is planted" in warning
    assert not shards.read_manifest(plain).warnings
    listing = layouts.LAYOUTS["synthetic"].read("classes=4,train_per_class=3,test_per_class=2,side=32,mark=1")
    assert listing.warnings == (warning,)


def nearest_mean(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    means = np.stack([train[train_labels == label].mean(0) for label in np.unique(train_labels)])
    distances = ((test[:, None] - means) ** 2).reshape(len(test), len(means), -1).sum(-1)
    return float((distances.argmin(1) == test_labels).mean())


def test_colour_over_the_image_tells_little_and_parts_tell_all() -> None:
    def accuracy(spec: SyntheticSpec, mean_colour: bool) -> float:
        parts: dict[str, tuple[list[np.ndarray], list[int]]] = {"train": ([], []), "test": ([], [])}
        for split, label, _, image in synthetic.draw_images(spec):
            parts[split][0].append(image.mean((0, 1)) if mean_colour else image.astype(float))
            parts[split][1].append(label)
        return nearest_mean(*(np.array(values) for split in ("train", "test") for values in parts[split]))

    chance = 1 / 8
    spec = SyntheticSpec(classes=8, train_per_class=30, test_per_class=30, side=32)
    assert accuracy(spec, mean_colour=True) < 1.8 * chance
    still = spec.model_copy(update={"pose": 0.0, "light": 0.0, "clutter": 0.0, "distinctness": 1.0})
    assert accuracy(still, mean_colour=True) < 2.5 * chance
    assert accuracy(still, mean_colour=False) > 4 * chance  # one picture a class is a template of its parts


def test_ensure_draws_once(tmp_path: Path) -> None:
    done: list[int] = []
    path = synthetic.ensure_shards(SMALL, tmp_path / "cache", progress=done.append)
    assert sum(done) == 20
    before = (path / "00000.parquet").stat()
    assert synthetic.ensure_shards(SMALL, tmp_path / "cache", progress=done.append) == path
    assert sum(done) == 20
    assert (path / "00000.parquet").stat().st_mtime_ns == before.st_mtime_ns
    assert synthetic.ensure_shards(SMALL.model_copy(update={"seed": 1}), tmp_path / "cache") != path
    (path / "00000.parquet").write_bytes(b"")
    assert synthetic.ensure_shards(SMALL, tmp_path / "cache") == path  # damage in a cache is no reason to stop
    manifest = shards.verify_shards(path)
    assert manifest.counts == {"train": (3,) * 4, "test": (2,) * 4}
    assert manifest.classes == synthetic.class_names(SMALL)


def test_parse() -> None:
    assert synthetic.parse_spec("-") == synthetic.parse_spec("") == SyntheticSpec()
    assert synthetic.parse_spec("classes=5, side=32,distinctness=0.5") == SyntheticSpec(
        classes=5, side=32, distinctness=0.5
    )
    for text, message in {
        "clases=5": "unknown synthetic setting 'clases'; did you mean 'classes'",
        "classes": "'classes' is not NAME=VALUE",
        "classes=many": "classes=many: .*integer",
        "classes=1": "classes=1: .*greater than or equal to 2",
        "distinctness=nan": "distinctness=nan",
    }.items():
        with pytest.raises(UserError, match=message):
            synthetic.parse_spec(text)
    with pytest.raises(UserError, match="nothing to draw"):
        synthetic.list_samples(SyntheticSpec(train_per_class=0, test_per_class=0))
