"""What is held out, and classes that cannot be trained on."""

from pathlib import Path

import numpy as np
import pytest

from raysearch.core import UserError
from raysearch.tasks.common import batch_sizes

from .small_runs import image_set, make

pytestmark = pytest.mark.usefixtures("tiny")


def test_validation_is_a_part_of_each_class_and_never_in_the_database(tmp_path: Path) -> None:
    train = image_set([10, 4, 2, 7])
    tasks = [make(tmp_path / str(seed), {"data.validation": 0.3}, seed=seed, train=train) for seed in range(3)]
    names = {image.tobytes(): row for row, image in enumerate(train.images)}
    held_out, remaining = (
        [names[image.tobytes()] for image in part.images] for part in (tasks[0].held_out, tasks[0].train)
    )
    assert sorted(held_out + remaining) == list(range(23))
    assert np.bincount(tasks[0].held_out.labels, minlength=5).tolist() == [3, 0, 1, 0, 2]
    assert (train.labels[held_out] == tasks[0].held_out.labels).all()
    assert (train.labels[remaining] == tasks[0].train.labels).all()
    for task in tasks:
        assert np.array_equal(task.held_out.images, tasks[0].held_out.images)
        assert task.codes.shape == (17, 6)
        assert len(task.train.labels) == 17
        assert "map_validation" in task.advance()
        assert "map_validation" in task.evaluate()
    without = make(tmp_path)
    assert "map_validation" not in without.advance() | without.evaluate()


def test_classes_that_are_too_small_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class 2 has one image"):
        make(tmp_path, train=image_set([4, 1, 3]))
    with pytest.raises(UserError, match="two classes"):
        make(tmp_path, train=image_set([4]))
    with pytest.raises(UserError, match="validation"):
        make(tmp_path, {"data.validation": 0.3}, train=image_set([2, 2]))
    assert len(make(tmp_path, {"data.validation": 0.8}, train=image_set([3, 9])).train) == 4  # two a class stay


def test_batches_hold_all_rows_and_two_images_a_worker() -> None:
    for rows in range(2, 40):
        for size in range(2, 12):
            alone = batch_sizes(rows, size)
            for workers in range(1, size // 2 + 1):
                sizes = batch_sizes(rows, size, workers)
                assert sum(sizes) == rows
                assert min(sizes) >= 2 * workers or len(sizes) == 1
                assert sizes[:-1] == alone[: len(sizes) - 1]  # nothing but the last may differ
                assert set(sizes[:-1]) <= {size}
                assert sizes[-1] < size + 2 * workers
