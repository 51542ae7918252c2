"""What Grafana and Prometheus are given: accepted by a real Prometheus, and every panel shows a running sweep."""

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ray.util.metrics import Counter, Metric

import dashboards
from raysearch.engine.cluster import connection
from raysearch.engine.monitoring.prometheus import PersistentGauges, StudyMetrics

from ..engine import sweeps
from ..engine.heads import Head
from ..prometheus_server import Prometheus, exporter, needs_prometheus

HERE = Path(dashboards.__file__).parent
CONFIG, ALERTS = HERE / "prometheus" / "prometheus.yml", HERE / "prometheus" / "alerts.yml"
GRAFANA: dict[str, Any] = json.loads((HERE / "grafana" / "raysearch.json").read_text())
PANELS: list[dict[str, Any]] = GRAFANA["panels"]
UNITS = {"percentunit", "percent", "short", "currencyUSD", "s", "bytes", "Bps"}  # Grafana's ids of units
FROM_RAYLET = {"ray_resources"}  # Ray names these in C++
# What a machine without a GPU and a retrieval study have none of, as Ray's exporter and a few-shot study name it.
ELSEWHERE = {
    'ray_node_gpus_utilization{SessionName="other",ip="192.0.2.1",GpuIndex="0"}': 3.0,
    'ray_node_gram_used{SessionName="other",ip="192.0.2.1",GpuIndex="0"}': 2048.0,
    'ray_raysearch_gpu_memory_bytes{SessionName="other",study="episodes",variant="reference"}': 1e9,
    'ray_raysearch_episodes_per_second{SessionName="other",study="episodes",variant="reference"}': 5.0,
    'ray_raysearch_cells{SessionName="other",study="episodes",status="running"}': 1.0,
}


def filled(expression: str) -> str:
    """An expression as Grafana would ask it, with all of each choice."""
    for name, value in (("SessionName", ".*"), ("study", ".*"), ("window", "1m"), ("__range", "3h")):
        expression = expression.replace(f"${name}", value)
    return expression


def expressions() -> Iterator[tuple[str, str]]:
    """(title of the panel, expression) of every target."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"])


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    assert "4 rules found" in promtool("check", "config", str(CONFIG))
    assert PROMETHEUS_SERVICE_DISCOVERY_FILE in CONFIG.read_text(), "Ray would write its list of nodes elsewhere"


@needs_prometheus
def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    cases = Path(__file__).parent / "alerts_test.yml"
    promtool("test", "rules", str(cases))
    for name in re.findall(r"alert: (\w+)", ALERTS.read_text()):
        found = re.findall(rf"alertname: {name}\n +exp_alerts:( \[\])?", cases.read_text())
        assert {bool(one) for one in found} == {True, False}, f"{name} is shown to fire, and not to"


@needs_prometheus
def test_prometheus_can_parse_what_each_panel_asks(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": one} for number, (_, one) in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_every_panel_says_what_it_shows_and_in_what_unit() -> None:
    assert GRAFANA["uid"] == "raysearch", "links to the dashboard stay valid"
    assert GRAFANA["title"]
    assert 36 <= GRAFANA["schemaVersion"] <= 42  # Grafana 9 to the last of this model
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["title"]
        assert len(panel["description"]) > 20
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        names = [target["refId"] for target in panel["targets"]]
        assert names == sorted(set(names))
        assert names
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert target["expr"]
            assert target["legendFormat"]
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_panels_lie_beside_each_other_on_the_grid() -> None:
    fields = [panel["gridPos"] for panel in PANELS]
    assert all(field["x"] + field["w"] <= 24 for field in fields)
    for one, other in combinations(fields, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_every_variable_is_declared_and_every_query_is_narrowed() -> None:
    declared = {variable["name"] for variable in GRAFANA["templating"]["list"]}
    for panel in PANELS:
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= declared | {"__range"}
            for selector in re.findall(r"ray_\w+(\{[^}]*\})?", target["expr"]):
                assert 'SessionName=~"$SessionName"' in selector, f"{panel['title']}: of all clusters"
            for selector in re.findall(r"ray_raysearch_\w+(\{[^}]*\})?", target["expr"]):
                assert 'study=~"$study"' in selector, f"{panel['title']}: of all studies"


def test_every_metric_that_is_asked_for_is_one_that_is_set() -> None:
    ours = [one for one in vars(StudyMetrics("study", None, PersistentGauges())).values() if isinstance(one, Metric)]
    known = {f"ray_{one.info['name']}" + "_total" * isinstance(one, Counter) for one in ours}
    known |= {f"ray_{name}" for name in METRICS_GAUGES} | FROM_RAYLET
    text = ALERTS.read_text() + " ".join(one for _, one in expressions()) + " ".join(ELSEWHERE)
    asked = set(re.findall(r"\bray_\w+", text))
    assert asked <= known
    assert {one for one in known if one.startswith("ray_raysearch_")} <= asked, "set for nobody"


def numbers(series: list[dict[str, Any]]) -> list[float]:
    """Values that can be drawn."""
    return [value for one in series if math.isfinite(value := float(one["value"][1]))]


def stopped(driver: subprocess.Popen[str]) -> str:
    """Its output up to now."""
    driver.kill()
    return driver.communicate(timeout=30)[0]


@pytest.mark.slow
@needs_prometheus
def test_every_panel_shows_a_running_sweep(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of four cells long enough to be watched, its cluster's exporters, and one of what this machine lacks."""
    sweeps.prepare(tmp_path, tiny_data, iterations=400, variants=2, seeds=2)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of the head too
    words = ["--num-cpus", "1", "--dashboard-host", "127.0.0.1", "--dashboard-port", str(connection.free_port())]
    words += ["--dashboard-agent-listen-port", str(connection.free_port()), "--include-dashboard", "true"]
    with (
        Head(*words) as head,
        exporter(ELSEWHERE) as beside,
        sweeps.Sweeps(tmp_path, head.address) as run,
    ):
        (tmp_path / "beside.json").write_text(json.dumps([{"targets": [beside]}]))
        config = CONFIG.read_text().replace("/tmp/ray", head.folder).replace("15s", "1s")
        config = config.replace("alerts.yml", str(ALERTS)).replace(
            "- files:", f"- files: [{tmp_path}/beside.json]\n      - files:"
        )
        (tmp_path / "prometheus.yml").write_text(config)
        driver = run.start("watched")
        with Prometheus(tmp_path, tmp_path / "prometheus.yml") as prometheus:
            empty = list(expressions())
            deadline = time.monotonic() + 420
            while empty and time.monotonic() < deadline:
                assert driver.poll() is None, driver.communicate()[0]
                time.sleep(1)
                empty = [one for one in empty if not numbers(prometheus.ask(one[1]))]
            assert not empty, f"{empty}\n{stopped(driver)}"
            cells = {
                one["metric"]["status"]: one["value"][1] for one in prometheus.ask('ray_raysearch_cells{study="study"}')
            }
            assert int(cells["running"]) > 0
            assert cells["failed"] == "0"
            (planned,) = prometheus.ask('ray_raysearch_cells_planned{study="study"}')
            assert planned["value"][1] == "4"
            assert not [one for one in prometheus.alerts() if one["state"] == "firing"]
