"""The top of the page: the question, the answer in a sentence, and what stands behind both."""

from dashboards.ablation.answer import sentence
from dashboards.ablation.view import View
from dashboards.html import formats
from dashboards.html.markup import Markup, join, name, tag
from raysearch.runs.study_record import DataRecord, SplitRecord, StudyRecord
from raysearch.studies.analysis import statistics

_DESIGNS = {"one_at_a_time": "one factor at a time", "full": "full factorial", "leave_one_out": "leave one out"}


def opening(run: View) -> Markup:
    """The page's header."""
    study = run.study
    facts = [
        ("Profile", study.profile or "not recorded"),
        ("Data", data(study.data, whole=bool(study.splits))),
        *(("Split", split(name, one)) for name, one in study.splits.items()),
        ("Network", _network(run)),
        ("Metric", tag("code", run.metric_id)),
        ("Cells", _cells(run)),
        ("Seeds", _seeds(run)),
        ("Design", _design(run)),
        *gallery(study),
    ]
    return tag(
        "header",
        tag("p", f"raysearch \N{MIDDLE DOT} {study.study}", class_="brand"),
        tag("h1", study.question or study.study or "A run"),
        _answer(run),
        caution(study),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts), class_="facts"),
    )


def _answer(run: View) -> Markup:
    """The sentence, its finding first and larger than the rest of it."""
    finding, mark, rest = sentence(run).partition("; ")
    lead = tag("strong", name(finding + ("." if mark else "")))
    text = join(lead, " " if rest else "", name(rest[:1].upper() + rest[1:]))
    return tag("section", tag("h2", "Answer"), tag("p", text), class_="answer", aria_label="Answer")


def caution(study: StudyRecord) -> Markup | None:
    """Why the profile was taken, and what its numbers are no answer to."""
    words = [study.profile_reason] if study.profile_reason else []
    if study.profile == "laptop":
        source = f"{study.data.name} {study.data.layout}".lower()
        drawn = any(word in source for word in ("synth", "embedded", "drawn"))
        scope = "a small network on a short schedule" + (" and drawn images, not the paper's data" if drawn else "")
        words.append(f"The laptop profile trains {scope}: compare its differences, not its values, with the paper's.")
    words += study.warnings
    return tag("p", " ".join(words), class_="caution") if words else None


def gallery(study: StudyRecord) -> list[tuple[str, Markup]]:
    """The link to the run's gallery; nothing where none was drawn."""
    address = (study.model_extra or {}).get("gallery")
    return [("Pictures", tag("a", "gallery of the trained networks", href=address))] if address else []


def split(identity: str, record: SplitRecord) -> str:
    """A class-disjoint split in a line."""
    parts = (f"{part} {record.classes[part]:,} ({record.images[part]:,} images)" for part in record.classes)
    return f"{identity}: classes {', '.join(parts)}"


def data(record: DataRecord, whole: bool = False) -> str:
    """The data set in a line; `whole` leaves its own splits out, where others are made of its classes."""
    words = [record.name or "not recorded"]
    words += [
        f"{number:,} {noun}"
        for number, noun in ((record.images, "images"), (record.classes, "classes"))
        if number is not None
    ]
    counts = {} if whole else record.counts
    split = f" ({', '.join(f'{name} {number:,}' for name, number in counts.items())})" if counts else ""
    return ", ".join(words) + split


def _cells(run: View) -> Markup:
    kinds = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    holes = [f"{number:,} {kind}" for kind, number in kinds.items() if number]
    adopted = run.study.adopted
    return join(
        f"{run.status('finished'):,} of {formats.count(run.planned, 'cell')} finished",
        join(", ", tag("span", ", ".join(holes), class_="hole")) if holes else None,
        f"; {adopted:,} taken over from other runs" if adopted else None,
    )


def _network(run: View) -> str:
    """Backbones, weights and image sides; several only where they are what varies."""
    models = [one.config.get("model") or {} for one in run.variants]
    backbones = list(dict.fromkeys(str(model["backbone"]) for model in models if model.get("backbone")))
    if not backbones:
        return "not recorded"
    weights = dict.fromkeys(str(model.get("weights") or "random weights").rpartition("/")[2] for model in models)
    sides = dict.fromkeys(str(side) for one in run.variants if (side := (one.config.get("data") or {}).get("side")))
    words = [formats.listed(backbones, most=3), formats.listed(list(weights), most=3)]
    return ", ".join([*words, *([f"{formats.listed(list(sides), most=3)} px"] if sides else [])])


def _numbers(run: View) -> list[int]:
    return list(run.study.seeds or sorted({row["seed"] for row in run.rows}))


def _seeds(run: View) -> str:
    numbers = _numbers(run)
    refused = statistics.refusal(len(numbers))
    return refused or f"{len(numbers):,}: {formats.seeds(numbers)}, the same for every variant"


def _design(run: View) -> str:
    seeds = _numbers(run)
    size = f"{formats.count(len(run.variants), 'variant')} \N{MULTIPLICATION SIGN} {formats.count(len(seeds), 'seed')}"
    design = _DESIGNS.get(str(run.study.design))
    return f"{design}, {size}" if design else size
