"""Explanations of a lost worker group, from errors of Ray Train."""

from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from raysearch.engine.trials.failures import explain_attempt, explain_group, is_failed_start


def test_a_dead_rank_is_named_and_those_that_waited_for_it_are_not() -> None:
    dead = WorkerHealthCheckFailedError("A worker health check failed.", RayActorError())
    waiting = RuntimeError("Traceback\n  ...\nConnection closed by peer")
    explanation = explain_group(WorkerGroupError("a page", {0: waiting, 1: dead}))
    assert explanation == "the worker of rank 1 died: it was killed, was out of memory, or lost its node"


def test_a_rank_that_raised_says_the_last_line_of_its_traceback() -> None:
    failure = RuntimeError(
        "Traceback (most recent call last):\n  File ...\nNonFiniteLoss: the loss became nan in epoch 3\n"
    )
    explanation = explain_group(WorkerGroupError("a page", {1: failure}))
    assert explanation == "rank 1: NonFiniteLoss: the loss became nan in epoch 3"


def test_a_group_that_did_not_start_says_the_last_line_too() -> None:
    failure = RuntimeError("ray::execute()\n  File ...\nRuntimeError: Gloo connectFullMesh failed\n")
    explanation = explain_group(ControllerError(failure))
    assert explanation == "the worker group did not start: RuntimeError: Gloo connectFullMesh failed"
    assert explain_group(ControllerError(RuntimeError())) == "the worker group did not start: RuntimeError()"


def test_a_lost_device_is_named_without_the_place_of_the_error_in_the_source() -> None:
    failure = RuntimeError("Traceback\n\nraysearch.engine.trials.device.DeviceLost: the device cuda:0 on n1 was lost\n")
    expected = "DeviceLost: the device cuda:0 on n1 was lost"
    assert explain_group(WorkerGroupError("a page", {0: failure})) == f"rank 0: {expected}"
    assert explain_group(ControllerError(failure)) == f"the worker group did not start: {expected}"


def test_a_group_that_did_not_start_is_told_from_one_that_was_lost() -> None:
    text = "Traceback ... raysearch.engine.trials.mailbox.{}: rank 0: DeviceLost: x"
    assert is_failed_start(text.format("GroupNotStarted"))
    assert not is_failed_start(text.format("GroupLost"))
    for name in ("GroupNotStarted", "GroupLost"):
        assert explain_attempt(text.format(name)) == "rank 0: DeviceLost: x"


def test_what_is_not_known_is_said_in_one_line() -> None:
    assert explain_group(ValueError("one\n  two")) == "ValueError: one two"
    assert explain_attempt("") == "the worker group was lost"
    assert explain_attempt("Traceback\n" + "x" * 1000)[-3:] == "xxx"
    assert len(explain_attempt("Traceback\n" + "x" * 1000)) == 500
