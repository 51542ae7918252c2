"""`check_task` passes a right task, and names what a wrong one lacks."""

import pytest

from raysearch.testing import check_task

from . import class_tasks


def test_a_right_task_passes_all_checks():
    check_task(class_tasks.RightTask, {"width": 2})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (class_tasks.ForgetsMomentum, "continues after step 1 differs from an undisturbed one: step 3: loss is"),
        (class_tasks.DrawsElsewhere, "two runs with seed 0 differ: score is"),
        (class_tasks.CountsInItsState, "two runs with seed 0 differ: step 1: loss is"),
        (class_tasks.SavesTheModel, "SavesTheModel.state_dict: state['model'] is a Linear, which cannot be saved"),
        (class_tasks.HasNoSteps, "HasNoSteps.steps is a number from 1, not 0"),
        (class_tasks.ReportsTexts, "ReportsTexts.advance: 'loss' is a str ('low'), not a number"),
        (class_tasks.Raises, "Raises: RuntimeError: "),
    ],
)
def test_a_wrong_task_fails_with_a_sentence(task, message):
    with pytest.raises(AssertionError) as caught:
        check_task(task, {"width": 2}, workers=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (class_tasks.TrainsApart, "they hold different models; call worker.wrap(model)"),
        pytest.param(class_tasks.EndsApart, "rank 0 has 4 steps and rank 1 3", marks=pytest.mark.slow),
        pytest.param(class_tasks.RaisesApart, "ValueError: no such row (class_tasks.py, line ", marks=pytest.mark.slow),
    ],
)
def test_two_workers_that_disagree_fail_with_a_sentence(task, message):
    with pytest.raises(AssertionError) as caught:
        check_task(task, {"width": 2})
    assert message in str(caught.value)


def test_a_class_that_no_other_process_finds_cannot_be_sent():
    class Hidden(class_tasks.RightTask):
        pass

    check_task(Hidden, {"width": 2}, workers=False)
    with pytest.raises(AssertionError, match="cannot be sent to a second worker"):
        check_task(Hidden, {"width": 2})
