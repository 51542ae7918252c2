"""The top of the page: the question, the answer in a sentence, and the facts of the run."""

from dashboards.ablation.judging import rule_words
from dashboards.ablation.judging.answer import sentence
from dashboards.ablation.view import View
from dashboards.html import Markup, breakable_name, formats, join, page_parts, tag
from raysearch.runs import DataRecord, SplitRecord, StudyRecord, config_section
from raysearch.studies.analysis import statistics

GALLERY = "gallery.html"  # beside the report
_DESIGNS = {"one_at_a_time": "one factor at a time", "full": "full factorial", "leave_one_out": "leave one out"}


def opening(run: View, has_gallery: bool = False, answer: Markup | None = None) -> Markup:
    """Return the page's header; `answer` replaces that of an ablation on one data set."""
    study = run.study
    facts = [
        ("Profile", study.profile or "not recorded"),
        ("Data", data(study.data, whole=bool(study.splits))),
        *(("Split", split(identity, record)) for identity, record in study.splits.items()),
        *([] if study.code else [("Network", _network(run))]),
        ("Metric", tag("code", run.metric_id)),
        ("Cells", _cells(run)),
        ("Seeds", _seeds(run)),
        ("Design", _design(run)),
        *gallery(has_gallery),
    ]
    title = study.question or study.study or "A run"
    return page_parts.header(study.study, title, facts, answer or _answer(run), caution(study))


def _answer(run: View) -> Markup:
    """Return the answer, its finding first and larger than the rest."""
    finding, separator, rest = sentence(run).partition("; ")
    lead = tag("strong", breakable_name(finding + ("." if separator else "")))
    text = join(lead, " " if rest else "", breakable_name(rest[:1].upper() + rest[1:]))
    return page_parts.answer_box(tag("p", text))


def caution(study: StudyRecord) -> Markup | None:
    """Return the reason for the profile, and the limits of its numbers; None if nothing is recorded.

    The settings of a user's task are the user's, so its numbers have no such limits.
    """
    sentences = [study.profile_reason] if study.profile_reason and not study.code else []
    if study.profile == "laptop" and not study.code:
        source = f"{study.data.name} {study.data.layout}".lower()
        drawn = any(word in source for word in ("synth", "embedded", "drawn"))
        scope = "a small network on a short schedule" + (
            ", with drawn images instead of the paper's data" if drawn else ""
        )
        sentences.append(
            f"The laptop profile trains {scope}. Compare its differences with the paper's, not its values."
        )
    sentences += [as_sentence(warning) for warning in study.warnings]
    return tag("p", " ".join(sentences), class_="caution") if sentences else None


def as_sentence(text: str) -> str:
    """Return a message with a capital letter and a full stop. A message that begins with a path keeps its letter.

    >>> as_sentence("2 images are under several labels"), as_sentence("weights have seen test classes.")
    ('2 images are under several labels.', 'Weights have seen test classes.')
    """
    first, _, _ = text.partition(" ")
    text = text[:1].upper() + text[1:] if first.isalpha() else text
    return text if text.endswith((".", "!", "?")) else f"{text}."


def gallery(exists: bool) -> list[tuple[str, Markup]]:
    """Return the link to the run's gallery; nothing if there is none."""
    return [("Pictures", tag("a", "gallery of the trained networks", href=GALLERY))] if exists else []


def split(identity: str, record: SplitRecord) -> str:
    """Return a class-disjoint split as text."""
    parts = (f"{part} {record.classes[part]:,} ({record.images[part]:,} images)" for part in record.classes)
    return f"{identity}: classes {', '.join(parts)}"


def data(record: DataRecord, whole: bool = False) -> str:
    """Return the data set as text.

    Args:
        record: the data set.
        whole: leave out its own splits, because the study divides its classes anew.
    """
    parts = [record.name or "not recorded"]
    parts += [
        f"{number:,} {noun}"
        for number, noun in ((record.images, "images"), (record.classes, "classes"))
        if number is not None
    ]
    counts = {} if whole else record.counts
    split = f" ({', '.join(f'{name} {number:,}' for name, number in counts.items())})" if counts else ""
    return ", ".join(parts) + split


def _cells(run: View) -> Markup:
    kinds = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    holes = [f"{number:,} {kind}" for kind, number in kinds.items() if number]
    return join(
        f"{run.status('finished'):,} of {formats.count(run.planned, 'cell')} finished",
        join(", ", tag("span", ", ".join(holes), class_="hole")) if holes else None,
        f"; {reused(run.study)}" if run.study.adopted else None,
    )


def reused(study: StudyRecord) -> str:
    """Return how many cells other runs had finished, and which runs; empty if there are none."""
    paths = [f"{path} ({count:,})" for path, count in study.adopted_from.items()]
    sources = formats.listed(paths, most=3) or "other runs"
    return f"{study.adopted:,} reused from {sources}" if study.adopted else ""


def _network(run: View) -> str:
    """Return backbones, weights and image sides; several if they vary."""
    models = [config_section(variant.config, "model") for variant in run.variants]
    backbones = list(dict.fromkeys(str(model["backbone"]) for model in models if model.get("backbone")))
    if not backbones:
        return "not recorded"
    weights = dict.fromkeys(str(model.get("weights") or "random weights").rpartition("/")[2] for model in models)
    sides = dict.fromkeys(
        str(side) for variant in run.variants if (side := config_section(variant.config, "data").get("side"))
    )
    parts = [formats.listed(backbones, most=3), formats.listed(list(weights), most=3)]
    return ", ".join([*parts, *([f"{formats.listed(list(sides), most=3)} px"] if sides else [])])


def _seeds(run: View) -> str:
    if run.study.looks:
        return f"where they are needed: {rule_words.looks_text(run.study)}"
    numbers = rule_words.seed_numbers(run)
    refused = statistics.refusal(len(numbers))
    text = refused or f"{len(numbers):,}: {formats.seeds(numbers)}, the same for every variant"
    return f"{text}; {rule_words.looked_text(run)}" if run.study.looked else text


def _design(run: View) -> str:
    if run.study.looks:
        seeds = f"{run.study.looks[0]} to {formats.count(run.study.looks[-1], 'seed')}"
    else:
        seeds = formats.count(len(rule_words.seed_numbers(run)), "seed")
    size = f"{formats.count(len(run.variants), 'variant')} \N{MULTIPLICATION SIGN} {seeds}"
    design = _DESIGNS.get(str(run.study.design))
    return f"{design}, {size}" if design else size
