"""What a command prints of studies: those that can be run by name, and the settings of a study's reference."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raysearch.studies.configs import ConfigFormat, RunConfig, describe_config, origins_of, profile_settings
from raysearch.studies.design import ablation_plan, search_plan, study_files
from raysearch.studies.design.plan import PlanRequest

_KINDS = {"Ablation": "ablation", "Search": "search"}


@dataclass(frozen=True)
class ListedStudy:
    """A study in a list.

    Attributes:
        name: the argument of `raysearch sweep`.
        kind: "ablation" or "search".
        question: the question that its report answers; empty where the file computes it.
        cells: its training runs under the laptop profile, at most; None for a file, which is not run for a list.
    """

    name: str
    kind: str
    question: str
    cells: int | None = None


def list_studies(directory: Path) -> list[ListedStudy]:
    """Return the shipped studies, then the study files of a directory and of its folders, by name.

    Study files are programs. They are parsed for the list, and not run.
    """
    shipped = [_shipped(name) for name in study_files.study_names()]
    files = sorted(path for pattern in ("*.py", "*/*.py") for path in directory.glob(pattern))
    shown = {path.resolve() for path in map(Path, _shipped_files())}
    return shipped + [study for path in files if path.resolve() not in shown for study in _in_file(path)]


def describe_reference(
    name: str,
    study: study_files.Study,
    reference: RunConfig,
    request: PlanRequest,
    form: ConfigFormat = ConfigFormat.TEXT,
) -> str:
    """Return the settings of a study's reference, with their origin.

    Args:
        name: the study's name.
        study: the study.
        reference: the planned config of its reference.
        request: the profile and the user's settings.
        form: as `text`, the first line names the study and what it varies.
    """
    profile = request.profile
    origins = origins_of(
        (f"profile {profile}", profile_settings(study.task, profile)),
        ("study's base", study.base),
        (f"study's profile {profile}", study.profiles.get(profile, {})),
        ("reference", study.reference),
        ("given here", request.settings),
    )
    text = describe_config(reference, form, origins)
    if form is not ConfigFormat.TEXT:
        return text
    return (
        f"# the reference of {name}; the study varies {', '.join(study.varied) or 'what its function asks for'}\n{text}"
    )


def _shipped_files() -> Iterator[str]:
    import search_spaces

    for folder in search_spaces.__path__:
        yield from map(str, Path(folder).glob("*.py"))


def _shipped(name: str) -> ListedStudy:
    _, study = study_files.load_study(name)
    plan = study_files.plan_study(study, PlanRequest(name, "laptop"))
    if isinstance(plan, ablation_plan.AblationPlan):
        return ListedStudy(name, plan.kind, study.question, len(plan.cells))
    assert isinstance(plan, search_plan.SearchPlan)
    return ListedStudy(name, plan.kind, study.question, plan.most_cells)


def _in_file(path: Path) -> Iterator[ListedStudy]:
    """Yield the study of a file that sets `study = Ablation(...)` or `Search(...)` at its top."""
    try:
        module = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if "study" not in names or not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        kind = _KINDS.get(ast.unparse(node.value.func).rpartition(".")[2])
        if kind:
            words = {word.arg: word.value for word in node.value.keywords}
            question = words.get("question")
            yield ListedStudy(str(path), kind, str(question.value) if isinstance(question, ast.Constant) else "")
