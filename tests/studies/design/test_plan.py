"""A study becomes cells, under names that change with all that decides a cell and with nothing else."""

import csv
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import search_spaces
from raysearch.core import UserError
from raysearch.runs import describe
from raysearch.studies.configs import TASKS, overrides, weights
from raysearch.studies.design import Ablation, ablation_plan, component, factor
from raysearch.studies.design.ablation import Design
from raysearch.studies.design.plan import PlanRequest
from search_spaces.srem_ablation import study as srem_ablation

DATA = "d" * 64
REGIONS = factor("srem.regions", 0, 10, 50)
SIZES = factor("srem.size", 16, 32)

# Every field, given in full, so that no tuned default moves the literal hash below; everything in it is active.
EVERYTHING: dict[str, Any] = {
    "data.side": 224,
    "data.zoom": 1.0,
    "data.validation": 0.1,
    "data.augment": "flip",
    "model.backbone": "resnet50",
    "model.weights": "IMAGENET1K_V1",
    "model.frozen": False,
    "model.standardise": False,
    "hash.bits": 24,
    "hash.method": "adsh",
    "srem.regions": 50,
    "srem.size": 32,
    "srem.grid": 28,
    "srem.center": False,
    "srem.ties": "raster",
    "srem.align_corners": False,
    "srem.mask_pass": "anchor",
    "esrl.positive": 0.1,
    "esrl.erased": 0.1,
    "esrl.positives": "database",
    "esrl.stop_gradient": "none",
    "adsh.gamma": 200.0,
    "adsh.similarity": "soft",
    "adsh.sweeps": 1,
    "adsh.bit_norm": False,
    "adsh.views": "anchor",
    "adsh.outputs": "last_epoch",
    "adsh.pull": "outputs",
    "adsh.start": "signs",
    "adsh.zero": "keep",
    "warmup.iterations": 2,
    "warmup.epochs": 5,
    "warmup.lr": 0.003,
    "warmup.views": "anchor",
    "warmup.recalibrate": False,
    "train.iterations": 40,
    "train.epochs": 20,
    "train.samples": 2000,
    "train.batch": 64,
    "train.lr": 0.001,
    "train.hash_lr": 1.0,
    "train.momentum": 0.9,
    "train.weight_decay": 1e-5,
    "train.milestones": [0.5, 0.75],
    "train.precision": "auto",
    "train.select": "last",
}
# Another value of each field.
OTHER: dict[str, Any] = {
    "data.side": 192, "data.zoom": 1.2, "data.validation": 0.0, "data.augment": "crop", "model.backbone": "resnet18",
    "model.weights": None, "model.frozen": True, "model.standardise": True, "hash.bits": 12, "srem.regions": 51,
    "srem.size": 31, "srem.grid": 14, "srem.center": True, "srem.ties": "any", "srem.align_corners": True,
    "srem.mask_pass": "separate", "esrl.positive": 0.2, "esrl.erased": 0.2, "esrl.positives": "sample",
    "esrl.stop_gradient": "anchor", "adsh.outputs": "fresh", "adsh.pull": "signs", "adsh.start": "normal",
    "adsh.zero": "plus", "hash.method": "dpsh",
    "adsh.gamma": 100.0, "adsh.similarity": "hard", "adsh.sweeps": 2, "adsh.bit_norm": True, "adsh.views": "all",
    "warmup.iterations": 3, "warmup.epochs": 6, "warmup.lr": 0.004, "warmup.views": "all",
    "warmup.recalibrate": True, "train.iterations": 41, "train.epochs": 21,
    "train.samples": 1000, "train.batch": 32, "train.lr": 0.002, "train.hash_lr": 2.0, "train.momentum": 0.8,
    "train.weight_decay": 1e-4, "train.milestones": [0.5], "train.precision": "float32", "train.select": "validation",
}  # fmt: skip
# Another value of each field that is about other methods.
OF_METHODS: dict[str, dict[str, Any]] = {
    "itq": {"itq.iterations": 9},
    "sdh": {"sdh.anchors": 9, "sdh.iterations": 9, "sdh.lam": 9.0, "sdh.nu": 9.0, "sdh.width": 9.0,
            "sdh.ridge": 9.0, "sdh.bias": True},
    "dpsh": {"pairs.per_class": 9, "dpsh.eta": 9.0},
    "dsh": {"pairs.per_class": 9, "dsh.margin": 9.0, "dsh.alpha": 9.0},
    "hashnet": {"pairs.per_class": 9, "hashnet.alpha": 9.0, "hashnet.growth": 9.0, "hashnet.every": 9},
    "exchnet": {
        "exchnet.parts": 9, "exchnet.spatial": 9.0, "exchnet.channel": 9.0, "exchnet.threshold": 0.9,
        "exchnet.alignment": 9.0, "exchnet.align_after": 0.9, "exchnet.exchange": 0.9, "adsh.gamma": 9.0,
    },
}  # fmt: skip


def study(design: Design = "one_at_a_time", **changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?",
        "task": "retrieval",
        "reference": {"srem.regions": 50, "srem.size": 32},
        "factors": [REGIONS, SIZES],
        "design": design,
        "seeds": 2,
    }
    return Ablation(**given | changes)


def make(ablation: Ablation, profile: str = "paper", **options: Any) -> ablation_plan.AblationPlan:
    return ablation_plan.plan_ablation("study", ablation, profile, DATA, **options)


def sizes(planned: ablation_plan.AblationPlan) -> list[tuple[int, int]]:
    return [(variant.config.srem.regions, variant.config.srem.size) for variant in planned.variants]


# ---------------------------------------------------------------------------------------------------------- designs


def test_one_at_a_time_leaves_the_reference_in_one_place() -> None:
    planned = make(study())
    assert [variant.name for variant in planned.variants] == [
        "reference",
        "srem.regions=0",
        "srem.regions=10",
        "srem.size=16",
    ]
    assert sizes(planned) == [(50, 32), (0, 32), (10, 32), (50, 16)]
    assert planned.reference is planned.variants[0]
    assert planned.factors == ("srem.regions", "srem.size")


def test_full_is_the_product_with_duplicates_once() -> None:
    planned = make(study("full"))
    # without regions their size does not matter: 3 x 2, less the second way to erase nothing
    assert sizes(planned) == [(50, 32), (0, 16), (10, 16), (10, 32), (50, 16)]
    assert [variant.name for variant in planned.variants] == [
        "reference", "srem.regions=0, srem.size=16", "srem.regions=10, srem.size=16", "srem.regions=10", "srem.size=16",
    ]  # fmt: skip
    # a reference outside the product comes on top of it
    assert sizes(make(study("full", reference={"srem.regions": 20, "srem.size": 8})))[0] == (20, 8)


def test_leave_one_out_switches_one_component_off() -> None:
    parts = [
        component("SREM", off={"srem.regions": 0}),
        component("relations", off={"esrl.positive": 0, "esrl.erased": 0}),
        component("positives", off={"esrl.positive": 0}),
        component("ranges", off={"esrl.positive": 0.05}),  # the same path as another component
    ]
    planned = make(study("leave_one_out", reference={"esrl.positive": 0.1, "esrl.erased": 0.2}, factors=parts))
    names = [variant.name for variant in planned.variants]
    assert names == ["reference", "without SREM", "without relations", "without positives", "without ranges"]
    assert [variant.config.esrl.positive for variant in planned.variants] == [0.1, 0.1, 0, 0, 0.05]
    assert [variant.config.srem.regions for variant in planned.variants] == [50, 0, 50, 50, 50]
    columns = ["SREM", "relations", "positives", "ranges"]
    assert [[variant.settings[name] for name in columns] for variant in planned.variants] == [
        [True] * 4, [False, True, True, True], [True, False, True, True], [True, True, False, True],
        [True, True, True, False],
    ]  # fmt: skip


def test_a_level_that_is_the_default_is_the_reference() -> None:
    planned = make(study(reference={"srem.size": 32}, factors=[factor("srem.regions", 50, 10)]))
    assert [variant.name for variant in planned.variants] == ["reference", "srem.regions=10"]


def test_cells_come_seed_by_seed_with_the_same_seeds_for_all() -> None:
    planned = make(study(seeds=[4, 2]))
    names = [variant.name for variant in planned.variants]
    assert [(cell.seed, cell.variant.name) for cell in planned.cells] == [(seed, n) for seed in (4, 2) for n in names]
    assert planned.seeds == (4, 2)
    assert len({cell.hash for cell in planned.cells}) == 8
    assert len(make(study(), seeds=5).cells) == 20
    with pytest.raises(UserError, match="at least one seed; got 0"):
        make(study(), seeds=0)


# --------------------------------------------------------------------------------------- profiles, sides, overrides


def test_pixels_scale_with_the_side_of_the_profile() -> None:
    planned = make(study(), settings={"data.side": 64})
    assert sizes(planned) == [(50, 9), (0, 9), (10, 9), (50, 5)]
    assert planned.variants[3].name == "srem.size=5"
    assert planned.variants[3].settings == {"srem.regions": 50, "srem.size": 5}
    assert planned.variants[3].declared == {"srem.regions": 50, "srem.size": 16}


def test_a_default_size_scales_as_a_declared_one() -> None:
    ablation = study(reference={}, factors=[factor("srem.regions", 0, 10)])
    assert make(ablation).reference.config.srem.size == 32
    assert make(ablation, settings={"data.side": 112}).reference.config.srem.size == 16
    # an image smaller than the default region is not an error
    assert make(ablation, settings={"data.side": 14}).reference.config.srem.size == 2


def test_an_override_is_in_the_units_of_the_config() -> None:
    planned = make(study(reference={"srem.regions": 50}), settings={"data.side": 112, "srem.size": 20})
    assert planned.reference.config.srem.size == 20


def test_an_override_on_a_factor_moves_the_reference() -> None:
    planned = make(study(), settings={"srem.regions": 20})
    assert sizes(planned) == [(20, 32), (0, 32), (10, 32), (50, 32), (20, 16)]
    assert [variant.name for variant in planned.variants][:4] == [
        "reference", "srem.regions=0", "srem.regions=10", "srem.regions=50",
    ]  # fmt: skip
    # an undeclared setting has no published number to compare with
    assert [variant.declared.get("srem.regions") for variant in planned.variants] == [None, 0, 10, 50, None]
    onto = make(study(), settings={"srem.regions": 10})
    assert sizes(onto) == [(10, 32), (0, 32), (50, 32), (10, 16)]


def test_an_override_elsewhere_is_in_every_variant() -> None:
    planned = make(study(base={"hash.bits": 24}), "laptop", settings={"hash.bits": 12, "train.epochs": 9})
    assert {(variant.config.hash.bits, variant.config.train.epochs) for variant in planned.variants} == {(12, 9)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hash.bits": 0}, r"variant 'reference': hash\.bits=0: "),
        ({"srem.size": 300}, r"variant 'reference': srem\.size=300 erases more than the image, which is 224 px"),
        ({"data.side": "wide"}, r"data\.side='wide': "),
        ({"hash.bit": 12}, r"unknown config path 'hash\.bit'.*'hash\.bits'"),
        ({"model.weights": "nowhere/w.pt"}, r"model\.weights: no file 'nowhere/w\.pt'"),
    ],
)
def test_wrong_overrides_are_told_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make(study(), settings=settings)
    assert "\n" not in str(caught.value)


def test_a_wrong_level_names_its_variant() -> None:
    with pytest.raises(UserError, match=r"variant 'srem\.size=500': srem\.size=500 erases more than the image"):
        make(study(factors=[factor("srem.size", 32, 500)]))


# ------------------------------------------------------------------------------------------------------------ names


def name(settings: Mapping[str, Any] | None = None, *, seed: int = 0, data: str = DATA, study: str = "study") -> str:
    """The hash of one cell of everything, with some settings changed."""
    given = {**EVERYTHING, **(settings or {})}
    reference = {"hash.bits": given.pop("hash.bits")}
    factors = [factor("hash.bits", *reference.values())]
    ablation = Ablation(question="?", task="retrieval", reference=reference, factors=factors, seeds=[seed])
    (cell,) = ablation_plan.plan_ablation(study, ablation, "paper", data, settings=given).cells
    return cell.hash


def test_everything_is_everything() -> None:
    of_others = {path for settings in OF_METHODS.values() for path in settings}
    assert set(EVERYTHING) == set(OTHER)
    of_users = {"evaluation.metrics"}  # names a file; see tests/tasks/retrieval/test_user_metric.py
    assert set(EVERYTHING) | of_others | of_users == set(overrides.known_paths("retrieval"))


def test_a_known_cell_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # Finished cells lie on people's disks under such names. Whatever changes this literal (a new field, another order
    # or form) orphans all of them: do it on purpose, with the spec's version raised, and never by accident.
    monkeypatch.setitem(TASKS._items, "retrieval", replace(TASKS["retrieval"], version=1))
    assert name() == "f8ac2889e9ff1400a519"


def test_the_name_is_the_same_in_another_process_and_order() -> None:
    backwards = dict(reversed(EVERYTHING.items()))
    assert name(backwards) == name()
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_plan; print(test_plan.name())"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    for hash_seed in ("1", "2"):
        child = subprocess.run(
            [sys.executable, "-c", code, *folders],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert child.stdout.strip() == name()


@pytest.mark.parametrize("path", OTHER)
def test_the_name_changes_with_every_active_field(path: str) -> None:
    assert name({path: OTHER[path]}) != name()


@pytest.mark.parametrize("method", ["lsh", "sh", *OF_METHODS])
def test_the_name_of_a_method_changes_with_its_own_fields_alone(method: str) -> None:
    switch = {"hash.method": method}
    for path, value in OF_METHODS.get(method, {}).items():
        assert name({**switch, path: value}) != name(switch), path
    others = {path: value for settings in OF_METHODS.values() for path, value in settings.items()}
    for path in others.keys() - OF_METHODS.get(method, {}).keys():
        assert name({**switch, path: others[path]}) == name(switch), path
    for path in ("srem.regions", "esrl.positive", "train.lr"):
        trained = method not in ("lsh", "sh", "itq", "sdh")
        assert (name({**switch, path: OTHER[path]}) != name(switch)) == (trained and path == "train.lr"), path


def test_the_name_changes_with_seed_data_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name(), name(seed=1), name(data="e" * 64)}
    monkeypatch.setitem(TASKS._items, "retrieval", replace(TASKS["retrieval"], version=TASKS["retrieval"].version + 1))
    assert len(names | {name()}) == 4


@pytest.mark.parametrize(
    ("switch", "inactive"),
    [
        ({"srem.regions": 0}, {"srem.size": 8, "srem.grid": None, "srem.center": True, "esrl.erased": 0.5}),
        ({"esrl.erased": 0}, {"srem.regions": 10, "srem.size": 8, "srem.grid": None, "srem.center": True}),
        ({"warmup.iterations": 0}, {"warmup.epochs": 9, "warmup.lr": 0.1}),
        ({"model.frozen": True}, {"warmup.iterations": 9, "warmup.epochs": 9, "warmup.lr": 0.1}),
    ],
)
def test_the_name_does_not_change_with_inactive_fields(switch: dict[str, Any], inactive: dict[str, Any]) -> None:
    for path, value in inactive.items():
        assert name({**switch, path: value}) == name(switch) != name(), path


def test_two_studies_share_cells() -> None:
    assert name(study="other") == name()
    first = make(study())
    other = make(study("full", factors=[factor("srem.regions", 10, 30)], question="else?"))
    shared = {cell.hash for cell in first.cells} & {cell.hash for cell in other.cells}
    assert len(shared) == 2 * 2  # reference and regions=10, two seeds


def test_weights_count_by_content_and_not_by_place(tmp_path: Path) -> None:
    file = tmp_path / "one.pt"
    copy = tmp_path / "else" / "copy"
    copy.parent.mkdir()
    file.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    before = name({"model.weights": str(file)})
    assert name({"model.weights": str(copy)}) == before
    assert name({"model.weights": "IMAGENET1K_V2"}) != before
    file.write_bytes(b"WEIGHTS")  # trained again, as long as before: the next plan of this process sees the new file
    os.utime(file, (0, 0))
    assert name({"model.weights": str(file)}) != before
    assert weights.identity(None) is None
    assert weights.identity("IMAGENET1K_V1") == "IMAGENET1K_V1"
    with pytest.raises(UserError, match=r"model\.weights: no file 'gone\.pt'"):
        weights.identity("gone.pt")


# ------------------------------------------------------------------------------------------------ the study that comes


@pytest.mark.parametrize("profile", ["paper", "laptop"])
def test_srem_ablation_has_a_variant_for_each_published_number(profile: str) -> None:
    planned = make(srem_ablation, profile)
    assert len(planned.variants) == 8
    assert len(planned.cells) == 8 * 5
    declared = [(variant.declared["srem.regions"], variant.declared["srem.size"]) for variant in planned.variants]
    table = Path(search_spaces.__file__).parent / "published" / "fcaenet" / "tables_3_4_food101.csv"
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    published = {(int(row["srem.regions"]), int(row["srem.size"])) for row in csv.DictReader(lines)}
    assert len(published) == 7
    assert published | {(0, 32)} == set(declared)
    side = planned.reference.config.data.side
    assert [variant.config.srem.size for variant in planned.variants] == [
        round(size * side / 224) for _, size in declared
    ]
    assert (side == 224) == (profile == "paper")


def test_leaving_out_what_is_off_already_is_refused() -> None:
    parts = [component("SREM", {"srem.regions": 0}), component("ESRL", {"esrl.positive": 0, "esrl.erased": 0})]
    with pytest.raises(UserError, match="'without SREM' changes nothing: it is the same run as 'reference'"):
        make(study("leave_one_out", factors=parts, reference={"srem.regions": 0}))


def test_a_variant_knows_the_settings_that_it_also_stands_for():
    factors = [factor("srem.regions", 0, 50), factor("srem.size", 16, 32)]
    ablation = Ablation("?", "retrieval", {"srem.regions": 50, "srem.size": 32}, factors, design="full")
    planned = ablation_plan.plan_ablation("study", ablation, "paper", "d" * 64)
    # without regions their size is nothing to set, so two of the four settings are one config
    assert len(planned.variants) == 3
    ((name, also),) = planned.also.items()
    variant = next(variant for variant in planned.variants if variant.name == name)
    assert (variant.settings["srem.regions"], variant.settings["srem.size"]) == (0, 16)
    assert [variant.settings for variant in also] == [{"srem.regions": 0, "srem.size": 32}]
    also = [variant.also for variant in describe.describe_ablation(planned).variants]
    assert [len(levels) for levels in also] == [0, 1, 0]


def test_a_part_of_a_study_knows_the_comparisons_of_all_of_it():
    factors = [factor("srem.regions", 0, 10, 50, 100), factor("srem.size", 16, 32, 64, 128)]
    study = Ablation("How many?", "retrieval", {"srem.regions": 50, "srem.size": 32}, factors)
    request = PlanRequest(name="s", profile="laptop")
    whole = ablation_plan.plan_requested(study, request)
    part = ablation_plan.plan_requested(study, replace(request, only={"srem.size": [64]}))
    assert len(part.variants) < len(whole.variants)
    assert (whole.comparisons, part.comparisons) == (6, 6)
    assert part.for_data("d" * 64).comparisons == 6
    assert describe.describe_ablation(part).comparisons == 6
