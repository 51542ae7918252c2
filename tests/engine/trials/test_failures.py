"""Explanations of a lost worker group, from errors of Ray Train."""

from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from raysearch.engine.trials.failures import explain_attempt, explain_group


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


def test_what_is_not_known_is_said_in_one_line() -> None:
    assert explain_group(ValueError("one\n  two")) == "ValueError: one two"
    assert explain_attempt("") == "the worker group was lost"
    assert explain_attempt("Traceback\n" + "x" * 1000)[-3:] == "xxx"
    assert len(explain_attempt("Traceback\n" + "x" * 1000)) == 500
