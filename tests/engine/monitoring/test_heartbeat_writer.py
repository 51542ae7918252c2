"""What a sweep says of itself in its run directory: written whole, while something happens and while nothing does."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.engine.monitoring import heartbeat_writer as writer
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.monitoring.heartbeat_writer import HeartbeatWriter
from raysearch.engine.trials.jobs import Job
from raysearch.runs import Heartbeat, Stage, heartbeat

JOB = Job("c0", "a seed 0", {}, 0, "a")


def only(run: Path) -> Heartbeat:
    (one,) = heartbeat.read_heartbeats(run)
    return one


def wait_for(run: Path, condition: Any) -> Heartbeat:
    end = time.monotonic() + 10
    while not condition(one := only(run)):
        assert time.monotonic() < end, one
        time.sleep(0.01)
    return one


def test_it_tells_the_story_of_a_sweep(tmp_path: Path) -> None:
    tally = ProgressCounter(3, 1, lambda: 2)
    with HeartbeatWriter(tmp_path, interval=0.01) as heart:
        begun = only(tmp_path)
        assert (begun.state, begun.pid, begun.stage) == ("starting", os.getpid(), None)
        heart.follow(tally.snapshot)
        tally.started(JOB)
        tally.stepped(JOB, {"iteration": 1, "loss": 0.5, "images_per_second": 70.0, "gpu_memory_bytes": 5}, 4)
        running = wait_for(tmp_path, lambda one: one.stage and one.stage.running and one.stage.running[0].step)
        assert running.stage is not None
        assert running.state == "running"
        assert (running.stage.images_per_second, running.stage.feed_wait_share) == (70.0, None)
        assert running.stage.running[0].losses == [0.5]
        tally.ended(JOB, {"status": "failed", "error": "<b>planted</b>"})
        failed = wait_for(tmp_path, lambda one: one.stage.failed)
        assert failed.stage is not None
        assert failed.stage.failures[0].text == "<b>planted</b>"
        heart.stage_ended(complete=True)
    over = only(tmp_path)
    assert (over.state, over.done) == ("ended", True)
    assert over.started == begun.started <= over.beat
    assert [path.name for path in (tmp_path / "progress").iterdir()] == [f"{over.key}.json"], "a temporary file is left"


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (UserError("no room"), "failed", "no room"),
        (RuntimeError("two\nlines"), "failed", "RuntimeError: two lines"),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_an_error_ends_it_in_words(tmp_path: Path, error: BaseException, state: str, words: str | None) -> None:
    with pytest.raises(type(error)), HeartbeatWriter(tmp_path):
        raise error
    assert (only(tmp_path).state, only(tmp_path).error) == (state, words)


def test_a_stage_that_was_interrupted_is_stopped(tmp_path: Path) -> None:
    with HeartbeatWriter(tmp_path) as heart:
        heart.stage_ended(complete=False)
    assert only(tmp_path).state == "stopped"


def test_nothing_new_is_written_as_a_beat_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Heartbeat] = []
    monkeypatch.setattr(writer.heartbeat, "write_heartbeat", lambda run_dir, one: written.append(one))
    monkeypatch.setattr(writer, "BEAT_SECONDS", 0.2)
    with HeartbeatWriter(tmp_path, interval=0.01) as heart:
        tally = ProgressCounter(3, 1, lambda: 2)
        heart.follow(tally.snapshot)
        time.sleep(0.5)
    assert 3 <= len(written) <= 6, [one.beat for one in written]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    stop = threading.Event()
    stage = Stage("cells", 9, failures=(heartbeat.Note("a", "x" * 50_000),))

    def write() -> None:
        while not stop.is_set():
            heartbeat.write_heartbeat(tmp_path, Heartbeat("h", 1, 0.0, time.time(), "running", stage=stage))

    heartbeat.write_heartbeat(tmp_path, Heartbeat("h", 1, 0.0, 0.0, "running", stage=stage))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            assert only(tmp_path).stage == stage
    finally:
        stop.set()
        thread.join()


def test_what_is_no_progress_is_left_out_and_the_latest_comes_last(tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    heartbeat.write_heartbeat(tmp_path, Heartbeat("late", 1, 0.0, 9.0, "running"))
    heartbeat.write_heartbeat(tmp_path, Heartbeat("early", 1, 0.0, 8.0, "running"))
    for name, text in {"a": "{", "b": "[]", "c": "{}", "d": '{"host": 1, "surprise": 2, "stage": null}'}.items():
        (folder / f"{name}.json").write_text(text)
    assert [one.host for one in heartbeat.read_heartbeats(tmp_path)] == ["early", "late"]


def test_the_next_process_tidies_up_but_leaves_those_that_live(tmp_path: Path) -> None:
    now = time.time()
    for host, beat, state in (("lives", now, "running"), ("done", now, "ended"), ("dead", now - 9999, "running")):
        heartbeat.write_heartbeat(tmp_path, Heartbeat(host, 1, 0.0, beat, state))
    with HeartbeatWriter(tmp_path):
        assert {one.host for one in heartbeat.read_heartbeats(tmp_path)} >= {"lives"}
        assert not {one.host for one in heartbeat.read_heartbeats(tmp_path)} & {"done", "dead"}


def test_a_disk_that_is_full_fails_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.heartbeat, "write_heartbeat", full)
    with HeartbeatWriter(tmp_path, interval=0.01):
        time.sleep(0.05)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    with HeartbeatWriter(tmp_path) as heart:
        heart.follow(ProgressCounter(3, 1, lambda: 2).snapshot)
    found = json.loads(next((tmp_path / "progress").iterdir()).read_text(), parse_constant=pytest.fail)
    assert found["stage"]["total"] == 3
