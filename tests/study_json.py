"""`study.json` as plain JSON: tests write and change it without the model that raysearch reads it by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "study.json"


def write_study_json(run_dir: Path, study: Mapping[str, Any]) -> None:
    """Write the file; values may be of any type."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / FILE).write_text(json.dumps(study, indent=1))


def read_study_json(run_dir: Path) -> dict[str, Any]:
    """Return the file's content, unchecked."""
    return json.loads((run_dir / FILE).read_text(encoding="utf-8"))
