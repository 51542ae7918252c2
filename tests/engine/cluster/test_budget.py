"""What a study costs, and the limits at which it stops; nodes and time are the test's own."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from raysearch.core import Interrupt, UserError
from raysearch.engine.cluster import budget, prices
from raysearch.engine.cluster.budget import COST_FILE, CostMeter, enforce_limits
from raysearch.engine.drivers import session
from raysearch.engine.options import Options

from ..contexts import make_context


def node(alive: bool = True, **labels: str) -> dict:
    return {
        "Alive": alive,
        "NodeManagerAddress": "10.0.0.1",
        "Labels": {k.replace("_", "-"): v for k, v in labels.items()},
    }


HEAD = node(dollars_an_hour="0.20")
SPOT = node(instance_type="g6.2xlarge", market="spot")


def test_nodes_cost_while_they_are_there(tmp_path: Path) -> None:
    now, there = [0.0], [HEAD]
    meter = CostMeter(tmp_path / COST_FILE, lambda: there, lambda: now[0])
    plan = [
        (3600, [HEAD, SPOT, SPOT]),
        (1800, [HEAD, SPOT, node(alive=False, instance_type="g6.2xlarge")]),
        (900, [HEAD]),
    ]
    expected = 0.0
    for seconds, nodes in plan:
        there[:] = nodes
        now[0] += seconds
        alive = [one for one in nodes if one["Alive"]]
        expected += sum(0.20 if one is HEAD else 0.9776 for one in alive) * seconds / 3600
        assert meter.update() == pytest.approx(expected)
    assert meter.record()["node_hours"] == pytest.approx({"no type": 1.75, "g6.2xlarge spot": 2.5})


def test_a_killed_driver_does_not_forget_what_it_spent(tmp_path: Path) -> None:
    now = [0.0]
    meter = CostMeter(tmp_path / COST_FILE, lambda: [SPOT], lambda: now[0])
    for _ in range(8):
        now[0] += 10
        meter.update()
    # it was written down within the last half minute
    kept = json.loads((tmp_path / COST_FILE).read_text())["dollars"]
    assert 50 / 3600 * 0.9776 <= kept <= 80 / 3600 * 0.9776
    again = CostMeter(tmp_path / COST_FILE, lambda: [SPOT], lambda: now[0])
    now[0] += 3600
    assert again.update() == pytest.approx(kept + 0.9776)


def test_machines_of_one_s_own_cost_nothing_and_leave_nothing(tmp_path: Path) -> None:
    meter = CostMeter(tmp_path / COST_FILE, lambda: [node()])
    with enforce_limits(meter, Interrupt(), every=0.01):
        time.sleep(0.05)
    assert meter.record() == {}
    assert not (tmp_path / COST_FILE).exists()


def stopped(interrupt: Interrupt) -> bool:
    end = time.monotonic() + 10
    while not interrupt.wanted and time.monotonic() < end:
        time.sleep(0.01)
    return interrupt.wanted


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_cost": 1.0}, "--max-cost 1 is reached: the study has cost $1."),
        ({"max_hours": 1e-6}, "--max-hours 1e-06"),
    ],
)
def test_a_limit_stops_in_good_order_and_says_so_once(tmp_path: Path, limits: dict[str, float], why: str) -> None:
    said: list[str] = []
    interrupt, told = Interrupt(said.append), list[float]()
    meter = CostMeter(tmp_path / COST_FILE, lambda: [SPOT], fast_clock(3600))
    with enforce_limits(meter, interrupt, every=0.02, on_update=told.append, **limits):
        assert stopped(interrupt)
        time.sleep(0.1)
    assert told == sorted(told)
    assert told[-1] <= meter.dollars
    assert len(said) == 1
    assert said[0].startswith(why)


def fast_clock(times: float) -> Callable[[], float]:
    return lambda: time.monotonic() * times


def test_no_limit_stops_nothing(tmp_path: Path) -> None:
    interrupt = Interrupt()
    with enforce_limits(CostMeter(tmp_path / COST_FILE, lambda: [SPOT], fast_clock(1e6)), interrupt, every=0.01):
        time.sleep(0.1)
    assert not interrupt.wanted


def test_a_limit_needs_a_price_for_every_node(tmp_path: Path) -> None:
    nodes = [SPOT]
    meter = CostMeter(tmp_path / COST_FILE, lambda: nodes)
    budget.check_cost_limit(meter, max_cost=5.0)
    nodes.append(node(instance_type="z9.huge"))
    with pytest.raises(UserError, match=r"price of 1 nodes is unknown \(10.0.0.1\)"):
        budget.check_cost_limit(meter, max_cost=5.0)


def test_a_limit_that_earlier_calls_used_up_is_refused(tmp_path: Path) -> None:
    with enforce_limits(CostMeter(tmp_path / COST_FILE, lambda: [SPOT], fast_clock(1e6)), Interrupt()):
        time.sleep(0.05)
    meter = CostMeter(tmp_path / COST_FILE, lambda: [SPOT])
    spent = meter.dollars
    assert spent > 0
    budget.check_cost_limit(meter, spent * 1.01)
    with pytest.raises(UserError, match="already"):
        budget.check_cost_limit(meter, spent * 0.99)


def test_a_study_looks_at_its_limit_before_any_image_is_decoded(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.connection, "connected", lambda address, show: nullcontext())
    monkeypatch.setattr(budget, "CostMeter", lambda file: CostMeter(file, lambda: [node()]))
    monkeypatch.setattr(session.session_data, "place_images", lambda *words: pytest.fail("images were asked for"))
    opened = session.open_session(make_context(tmp_path, tiny_data, Options(max_cost=5.0)), [])
    with pytest.raises(UserError, match="price of 1 nodes"):
        opened.__enter__()


def test_a_node_without_a_price_that_joins_later_stops_a_study_with_a_limit(tmp_path: Path) -> None:
    nodes, limited, free = [SPOT], Interrupt(), Interrupt()
    with (
        enforce_limits(CostMeter(tmp_path / COST_FILE, lambda: nodes), limited, max_cost=1e6, every=0.01),
        enforce_limits(CostMeter(tmp_path / "free.json", lambda: nodes), free, every=0.01),
    ):
        time.sleep(0.1)
        assert not limited.wanted
        nodes.append(node(instance_type="z9.huge"))
        assert stopped(limited)
        assert not free.wanted


def test_a_head_that_does_not_answer_for_a_while_ends_no_count(tmp_path: Path) -> None:
    calls = [0]

    def nodes() -> list[dict]:
        calls[0] += 1
        if 3 < calls[0] < 8:
            raise RuntimeError("the head does not answer")
        return [SPOT]

    interrupt = Interrupt()
    with enforce_limits(CostMeter(tmp_path / COST_FILE, nodes, fast_clock(3600)), interrupt, max_cost=2.0, every=0.02):
        assert stopped(interrupt)


def test_prices_of_one_s_own_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.csv"
    own.write_text("instance_type,dollars_an_hour\ng6.2xlarge,0.5\ndesk,0.1\n")
    monkeypatch.setenv("RAYSEARCH_PRICES", str(own))
    assert prices.price_of_node({"instance-type": "g6.2xlarge"}) == 0.5
    assert prices.price_of_node({"instance-type": "desk"}) == 0.1
    assert prices.price_of_node({"instance-type": "g5.xlarge"}) == 1.006


@pytest.mark.parametrize("text", ["nothing", "instance_type,dollars_an_hour\nx,much\n", "a,b\n1,2\n"])
def test_a_file_of_prices_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    own = tmp_path / "prices.csv"
    own.write_text(text)
    monkeypatch.setenv("RAYSEARCH_PRICES", str(own))
    if text == "nothing":
        assert "g5.xlarge" in prices.machine_types()  # a header without rows says nothing
        return
    with pytest.raises(UserError, match="prices"):
        prices.machine_types()


def test_every_shipped_machine_has_all_its_figures() -> None:
    for one in prices.machine_types().values():
        assert one.dollars_an_hour > 0
        assert one.vcpus > 0
        assert (one.gpus > 0) == bool(one.gpu) == (one.gpu_gb > 0)
