"""The part of the page that says where the numbers come from: data, versions, machine, configs, command."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboards.ablation import row_limits
from dashboards.ablation.config_diff import between, flat, words
from dashboards.ablation.view import View
from dashboards.html import Markup, Section, formats, markup, page_parts, tag, verdicts
from dashboards.run_data import loads, mapping
from raysearch.runs import StudyRecord
from raysearch.studies.analysis.devices import device_counts

_NO_DATA = "none"  # the layout of a run whose task loads its own data


def provenance(run: View) -> Section:
    """Data, versions, machine, configs, and the command that gives the run again."""
    return section(run.study, run.rows, _differences(run), _config(run.reference.config))


def section(study: StudyRecord, rows: Sequence[Mapping[str, Any]], *configs: Any) -> Section:
    """The section of any run.

    Args:
        study: what `study.json` holds.
        rows: the rows of the ended cells.
        configs: what there is to say of them.
    """
    facts: list[tuple[str, Any]] = []
    if study.command:
        facts.append(("Again", tag("pre", study.command)))
    facts += [("When", " to ".join(_when(stamp) for stamp in (study.started, study.ended) if stamp))]
    if study.data.layout != _NO_DATA:
        facts += [("Data hash", tag("code", study.data.content_hash) if study.data.content_hash else "")]
        facts += [("Layout", study.data.layout or "")]
    facts += [("Warnings", tag("ul", *(tag("li", warning) for warning in study.warnings)) if study.warnings else "")]
    facts += [("Ingest", study.data.account or "")]
    facts += [("Images", "; ".join(feed.text for feed in study.feed))]
    codes = sorted({row["code_version"] for row in rows if row.get("code_version") is not None})
    facts += [("Source of the task", pairs(study.code))]
    facts += [("Code version", formats.listed([str(code) for code in codes]) if not study.code else "")]
    facts += [("Versions", pairs(study.versions)), ("Hardware", _hardware(study.hardware))]
    facts += [("Cells ran on", _environments(rows)), ("Devices", devices_text(rows))]
    facts += [("Set on the command line", pairs(study.settings.get("overrides", study.settings)))]
    listing = page_parts.listing((term, value) for term, value in facts if value)
    return markup.section("provenance", "Provenance", listing, *configs)


def _when(stamp: Any) -> str:
    """An ISO time without what nobody reads."""
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        return str(stamp)
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _hardware(values: Any) -> str:
    """The counts of a machine in words, the rest as it stands."""
    if not isinstance(values, Mapping):
        return pairs(values)
    nouns = {"nodes": "node", "cpus": "CPU", "gpus": "GPU"}
    words = [formats.count(values[key], noun) for key, noun in nouns.items() if isinstance(values.get(key), int)]
    if isinstance(values.get("memory_gb"), int | float):
        words.append(f"{values['memory_gb']:g} GB of memory")
    rest = {key: value for key, value in values.items() if key not in {*nouns, "memory_gb"}}
    return ", ".join(word for word in [*words, pairs(rest)] if word)


def pairs(values: Any) -> str:
    """Names and values in a row; what has no value is left out."""
    if not isinstance(values, Mapping):
        return str(values or "")
    return ", ".join(f"{key} {_word(value)}" for key, value in values.items() if value not in (None, "", [], {}))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _environments(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where cells ran, when that is not the same for all of them."""
    texts = [row.get("environment") for row in rows if row.get("environment")]
    kinds = Counter(texts)
    if not 2 <= len(kinds) <= 50:
        return ""
    shown = [f"{number} on {pairs(flat(mapping(loads(text))))}" for text, number in kinds.items()]
    return formats.listed(shown, most=8)


def devices_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many cells each kind of device finished."""
    return ", ".join(f"{formats.count(number, 'cell')} on {device}" for device, number in device_counts(rows).items())


def _differences(run: View) -> Markup | None:
    """What each variant's config holds that the reference's does not."""
    if not run.reference.config:
        return None
    body = []
    for variant in row_limits.shown(run, verdicts.ROWS_IN_PAGE)[1:]:
        changed = words(between(run.reference.config, variant.config))
        body.append([variant.label, tag("td", "; ".join(changed) or "nothing", class_="wide")])
    table = markup.table_element(
        ["Variant", "Differs from the reference in"], body, row_limits.note(run, verdicts.ROWS_IN_PAGE) or None
    )
    return tag("details", tag("summary", "Each variant's config"), table) if body else None


def _config(config: Mapping[str, Any]) -> Markup | None:
    if not config:
        return None
    text = json.dumps(config, indent=2)
    return tag("details", tag("summary", "The reference's config in full"), tag("pre", text))
