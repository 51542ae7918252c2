"""Each hook into Ray does what it is for; each test fails by the hook's name when Ray changes it."""

import ast
import importlib
import inspect
import os
import pickle
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml
from ray import tune
from ray._private import node as ray_node
from ray._private import state as ray_state
from ray._private import utils as ray_utils
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import FIFOScheduler

import raysearch
from raysearch.engine import ray_internals
from raysearch.engine.cluster import connection

PACKAGE = Path(raysearch.__file__).parent
RAY = Path(ray.__file__).parent
HOOKS = PACKAGE / "engine" / "ray_internals"  # a package
OPTUNA_HOOKS = PACKAGE / "engine" / "optuna_internals.py"  # with tests in test_optuna_internals.py


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with connection.connected(None):
        yield


def private_uses(path: Path) -> list[str]:
    """Return the lines of a module that import a private name of Ray or Optuna, or read one of another object."""
    uses = []
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        foreign = [name for name in names if name.split(".")[0] in ("ray", "optuna")]
        if any(part.startswith("_") for name in foreign for part in name.split(".")):
            uses.append(f"{path}:{node.lineno} imports {', '.join(foreign)}")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            of_its_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            of_python = node.attr.endswith("__") and not node.attr.startswith("__ray")
            if not (of_its_own or of_python):
                uses.append(f"{path}:{node.lineno} reads {ast.unparse(node)}")
    return uses


def imports_ray_or_optuna(path: Path) -> bool:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] in ("ray", "optuna") for name in names)


def test_no_other_module_uses_private_parts() -> None:
    modules = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.parent != HOOKS and path != OPTUNA_HOOKS and imports_ray_or_optuna(path)
    ]
    assert len(modules) > 15, "the modules that use Ray were not found"
    assert [use for path in modules for use in private_uses(path)] == []
    assert len([use for path in HOOKS.glob("*.py") for use in private_uses(path)]) > 5, "the scan finds nothing"


@pytest.mark.parametrize("name", [*ray_internals.TUNE_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG"])
def test_tune_environment(name: str) -> None:
    assert name in ray_internals.tune_environment(buffered=True, max_trials=3)
    assert mentions(name, "tune", "train"), f"Ray does not read {name} any more"


def test_tune_environment_is_unbuffered_for_schedulers() -> None:
    variables = ray_internals.tune_environment(buffered=False, max_trials=3)
    assert variables["TUNE_RESULT_BUFFER_LENGTH"] == "1"
    assert variables["TUNE_MAX_PENDING_TRIALS_PG"] == "3"


@pytest.mark.parametrize("name", ray_internals.TRAIN_ENVIRONMENT)
def test_train_environment(name: str) -> None:
    assert mentions(name, "train"), f"Ray does not read {name} any more"


@pytest.mark.parametrize("name", [*ray_internals.DRIVER_ENVIRONMENT, *ray_internals.LOCAL_ENVIRONMENT])
def test_driver_environment(name: str) -> None:
    if name.isupper():
        assert mentions(name, "_private")
    else:  # an entry of Ray's C++ configuration, whose names begin with RAY_ in the environment
        setting = name.removeprefix("RAY_").encode()
        assert setting in (RAY / "core/src/ray/gcs/gcs_server").read_bytes(), (
            f"Ray's head does not read {name} any more"
        )


def test_head_port() -> None:
    assert mentions(ray_internals.HEAD_PORT, "_private")


def mentions(name: str, *folders: str) -> bool:
    """Return whether a Python file of Ray names it."""
    command = ["grep", "-rqw", "--include=*.py", name, *(str(RAY / folder) for folder in folders)]
    return subprocess.run(command).returncode == 0


def test_handlers_restored() -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ray_internals.handlers_restored():
            ray_utils.set_sigterm_handler(lambda *_: None)  # as `ray.init` does
            assert signal.getsignal(signal.SIGTERM) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "set_sigterm_handler(" in inspect.getsource(ray.init), "Ray needs this hook no longer"


def test_process_groups(ray_here: None) -> None:
    started = [process for process in psutil.Process().children() if process.name() in ("gcs_server", "raylet")]
    assert {process.name() for process in started} == {"gcs_server", "raylet"}
    for process in started:
        assert os.getpgid(process.pid) == process.pid


def test_no_api_server(ray_here: None) -> None:
    commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert any("log_monitor.py" in command for command in commands)
    assert not any("dashboard/dashboard.py" in command for command in commands)
    assert "services.start_api_server(" in inspect.getsource(ray_node), "Ray needs this hook no longer"


def test_signals_left_alone() -> None:
    tune_run = importlib.import_module("ray.tune.tune")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        with ray_internals.signals_left_alone():
            interrupted = tune_run._setup_signal_catching()
        assert {number: signal.getsignal(number) for number in before} == before
        assert not interrupted.is_set()
        tune_run._setup_signal_catching()
        assert signal.getsignal(signal.SIGUSR1) is not before[signal.SIGUSR1], "Tune needs this hook no longer"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "_setup_signal_catching()" in inspect.getsource(tune_run.run)


def test_autoscaler(ray_here: None) -> None:
    """A local cluster has none; `cluster/test_growing_cluster.py` has one of each version."""
    assert ray_internals.autoscaler() is None


def test_head_resource(ray_here: None) -> None:
    (node,) = ray.nodes()
    assert node["Resources"][ray_internals.HEAD_RESOURCE] == 1


def test_parse_autoscaler_config_of_a_cluster_file() -> None:
    gpu = {"CPU": 8, "GPU": 1}
    types = {"head": {"resources": {"CPU": 0}}, "spot": {"resources": gpu, "max_workers": 9}, "any": {"resources": gpu}}
    config = {"head_node_type": "head", "max_workers": 5, "available_node_types": types}
    assert ray_internals.parse_autoscaler_config(config) == ray_internals.Autoscaler(((gpu, 5), (gpu, 5)), 5)
    unknown = ray_internals.Autoscaler()
    local = {"local.cluster.node": {"resources": {}, "max_workers": 5}}  # of machines of one's own
    assert ray_internals.parse_autoscaler_config(config | {"available_node_types": local}) == unknown
    assert ray_internals.parse_autoscaler_config({}) == unknown


def test_parse_autoscaler_config_of_kuberay() -> None:
    """By Ray's own reader of RayCluster objects, which asks the API of Kubernetes for them."""
    from ray.autoscaler._private.kuberay import autoscaling_config

    parameters = inspect.signature(autoscaling_config.AutoscalingConfigProducer).parameters
    assert [*parameters] == ["ray_cluster_name", "ray_cluster_namespace"]
    file = PACKAGE.parent / "clusters" / "kuberay.yaml"
    objects = yaml.safe_load_all(re.sub(r"<\w+>", "1", file.read_text()))
    (cluster,) = (content for content in objects if content["kind"] == "RayCluster")
    cluster["metadata"]["namespace"] = "raysearch"
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    autoscaler = ray_internals.parse_autoscaler_config(config)
    ((resources, count),) = autoscaler.types
    assert (resources["CPU"], resources["GPU"], count, autoscaler.max_nodes) == (7, 1, 8, 8)


def test_check_cluster_config() -> None:
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]}
    config = {"cluster_name": "small", "provider": provider, "auth": {"ssh_user": "me"}}
    prepared = ray_internals.check_cluster_config(config)
    assert prepared["max_workers"] == 1, "Ray completes the file"
    with pytest.raises(Exception, match="colour"):
        ray_internals.check_cluster_config(config | {"colour": "red"})


@ray.remote(num_cpus=0)
class Quiet:
    """An actor without a method to wait for."""


def test_wait_until_alive(ray_here: None) -> None:
    actor = Quiet.remote()  # type: ignore[attr-defined]
    ray_internals.wait_until_alive(actor, seconds=60)
    ray.kill(actor)
    _wait_until_dead(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        ray_internals.wait_until_alive(actor, seconds=60)


def _wait_until_dead(actor: Any) -> None:
    """Wait until a kill has reached an actor, which may answer once more before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ray.get(actor.__ray_ready__.remote(), timeout=60)
        except ray.exceptions.RayActorError:
            return


def test_not_saved() -> None:
    callback = SavedByTune()
    assert vars(pickle.loads(pickle.dumps(callback))) == {}


class SavedByTune(ray_internals.NotSaved, tune.Callback):
    def __init__(self) -> None:
        self.lock = open(__file__)  # noqa: SIM115  # cannot be pickled


def make_trial(cell: str) -> Trial:
    experiment = Experiment("study", "trainable")
    return ray_internals.TrialMaker().make(experiment.spec, {"job": "{}", "train.lr": 0.1}, cell)


@pytest.fixture
def trainable() -> None:
    tune.register_trainable("trainable", tune.Trainable)


def test_trial_maker(trainable: None) -> None:
    trial = make_trial("0123abcd")
    assert trial.trial_id == "0123abcd"
    assert trial.experiment_tag == "0123abcd"
    assert trial.config == {"job": "{}", "train.lr": 0.1}
    assert trial.status == Trial.PENDING


def test_forget_trial(trainable: None) -> None:
    """Tune hands callbacks its own list, which it goes through at every step."""
    first = make_trial("a")
    second = make_trial("b")
    trials = [first, second]
    ray_internals.forget_trial(trials, first)
    ray_internals.forget_trial(trials, first)
    assert trials == [second]


def test_forget_trial_reaches_tune(ray_here: None, tmp_path: Path) -> None:
    lengths = run_three(tmp_path, forget=True)
    assert max(lengths) == 1, "Tune hands out a copy of its list: ended trials stay in the original"
    assert max(run_three(tmp_path, forget=False)) == 3, "without the hook the same comes out: the test shows nothing"


class Forgetful(ray_internals.NotSaved, tune.Callback):
    def __init__(self, forget: bool) -> None:
        self._forget = forget
        self.lengths: list[int] = []

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.lengths.append(len(trials))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if self._forget:
            ray_internals.forget_trial(trials, trial)


def run_three(folder: Path, forget: bool) -> list[int]:
    """Run three trials one after another; return the length of Tune's list at the start of each."""
    callback = Forgetful(forget)
    tune.Tuner(
        lambda config: {"score": 1.0},
        tune_config=tune.TuneConfig(num_samples=3, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(folder / str(forget)), callbacks=[callback], verbose=0),
    ).fit()
    return callback.lengths


def test_count_failures_and_set_failures(ray_here: None, trainable: None) -> None:
    trial = make_trial("a")
    assert ray_internals.count_failures(trial) == 0
    trial.max_failures = 1
    trial.storage.trial_dir_name = "a"
    trial.init_local_path()
    trial.handle_error(RuntimeError("planted"))
    assert ray_internals.count_failures(trial) == 1
    assert trial.should_recover()
    trial.handle_error(RuntimeError("planted"))
    assert not trial.should_recover()
    ray_internals.set_failures(trial, 0)
    assert trial.should_recover(), "Tune counts failures elsewhere"


def test_last_failure(ray_here: None, trainable: None) -> None:
    trial = make_trial("a")
    trial.storage.trial_dir_name = "last-failure"
    trial.init_local_path()
    assert ray_internals.last_failure(trial) == ""
    for reason in ("the first", "the second"):
        trial.handle_error(RuntimeError(reason))
    assert "the second" in ray_internals.last_failure(trial)
    assert "the first" not in ray_internals.last_failure(trial)


def test_train_buffered() -> None:
    """Tune calls it with these arguments, and `CellTrial` overrides it."""
    arguments = list(inspect.signature(tune.Trainable.train_buffered).parameters)
    assert arguments[:3] == ["self", "buffer_time_s", "max_buffer_length"]
    assert mentions("train_buffered", "tune/execution"), "Tune does not call it any more"


def test_backend_hooks() -> None:
    """Ray Train asks a config for its backend's class, and calls `on_start` before it runs the training function."""
    assert issubclass(TorchConfig().backend_cls, Backend)
    assert list(inspect.signature(Backend.on_start).parameters)[:3] == ["self", "worker_group", "backend_config"]
    assert mentions("on_start", "train/v2/_internal/callbacks")


def test_worker_runtime_environment(ray_here: None, tmp_path: Path) -> None:
    """The variables are set before the worker imports torch."""
    trainer = TorchTrainer(
        lambda: Path(tmp_path, "seen").write_text(os.environ.get("RAYSEARCH_SEEN", "")),
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            storage_path=str(tmp_path), worker_runtime_env={"env_vars": {"RAYSEARCH_SEEN": "yes"}}
        ),
    )
    trainer.fit()
    assert (tmp_path / "seen").read_text() == "yes"


def test_keep_warm_actors(ray_here: None, tmp_path: Path) -> None:
    scheduler = Warming()
    tune.Tuner(
        lambda config: {"score": 1.0},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert scheduler.added == [3]


class Warming(FIFOScheduler):
    """Asks Tune for three warm actors, and reads how many it will keep."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[int] = []

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        trial = super().choose_trial_to_run(tune_controller)
        if trial is not None and not self.added:
            factory = trial.placement_group_factory
            cache = tune_controller._tune_controller._actor_cache
            before = cache._max_num_objects[factory]
            ray_internals.keep_warm_actors(tune_controller, factory, 3)
            self.added.append(cache._max_num_objects[factory] - before)
        return trial


def test_drop_unused_callbacks() -> None:
    trainer = TorchTrainer(lambda: None, scaling_config=ray.train.ScalingConfig(num_workers=1))
    names = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert set(ray_internals.UNUSED_CALLBACKS) <= names, "Ray Train starts other helpers"
    ray_internals.drop_unused_callbacks(trainer)
    remaining = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert remaining == names - set(ray_internals.UNUSED_CALLBACKS)


def test_actors_inherit_environment(ray_here: None, tmp_path: Path) -> None:
    """Trial actors of a local Ray have the variables that Tune would hand them, and no runtime environment."""

    def _look(config: dict[str, Any]) -> dict[str, str]:
        return {"seen": os.environ["PL_DISABLE_FORK"], "own": ray.get_runtime_context().get_runtime_env_string()}

    tuner = tune.Tuner(_look, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0))
    assert "PL_DISABLE_FORK" in tuner.fit()[0].metrics["own"], "Ray needs this hook no longer"
    with ray_internals.actors_inherit_environment():
        metrics = tuner.fit()[0].metrics
    assert metrics["seen"] == "1"
    assert metrics["own"] in ("", "{}")


def test_start_without_actors(ray_here: None, tmp_path: Path) -> None:
    """A worker group starts no process besides its workers; Ray Train's own way starts more."""

    def _start(leave_out: bool) -> list[str]:
        before = set(ray_state.actors())
        file = tmp_path / f"actors-{leave_out}"

        def _write_new_actors() -> None:
            new = [actor for name, actor in ray_state.actors().items() if name not in before]
            file.write_text(" ".join(actor["ActorClassName"].split(".")[-1] for actor in new))

        trainer = DataParallelTrainer(
            _write_new_actors,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(storage_path=str(tmp_path)),
        )
        ray_internals.drop_unused_callbacks(trainer)
        if leave_out:
            ray_internals.start_without_actors(trainer)
        trainer.fit()
        return file.read_text().split()

    class Holder:
        """Stands for a trial actor: the hook changes Train for the life of its process."""

        def start(self, leave_out: bool) -> list[str]:
            return _start(leave_out)

    holder = ray.remote(num_cpus=0)(Holder)
    assert ray.get(holder.remote().start.remote(True)) == ["RayTrainWorker"]
    usual = ray.get(holder.remote().start.remote(False))
    assert {"TrainController", "SynchronizationActor"} <= set(usual), "Ray needs this hook no longer"
