"""The list of studies: those that ship, and files that are parsed and never run."""

from pathlib import Path

import pytest

from raysearch.studies.design import list_studies, load_study, plan_study, study_names
from raysearch.studies.design.plan import PlanRequest

QUESTION = "Which rate is best?"
FILES = {
    "mine.py": f'from raysearch import Ablation\nstudy = Ablation(question="{QUESTION}", task="retrieval")\n',
    "ideas/other.py": f'import raysearch as r\nstudy = r.Search(\n    question="{QUESTION}",\n    task="fewshot",\n)\n',
    "computed.py": "from raysearch import Search\nq = 'a?'\nstudy = Search(question=q)\n",
    "runs.py": 'raise RuntimeError("a list runs nothing")\n',
    "broken.py": "study = Ablation(question=\n",
    "latin.py": "# caf\xe9\nstudy = 3\n",
    "unrelated.py": "study = dict(question='no')\n",
    "a/b/deep.py": 'study = Ablation(question="too deep")\n',
}


def test_shipped_studies_come_with_their_questions_and_cells(tmp_path: Path) -> None:
    listed = {study.name: study for study in list_studies(tmp_path)}
    assert list(listed) == study_names()
    for name, entry in listed.items():
        _, study = load_study(name)
        assert entry.question == study.question
        assert entry.kind == type(study).__name__.lower()
    assert listed["srem_ablation"].cells == 8 * 5
    assert listed["fewshot_search"].cells == 16 + 2 * 3
    assert listed["esrl_weights"].cells > len(plan_study(study, PlanRequest("x", "laptop")).seeds)


def test_files_are_found_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    files = [study for study in list_studies(Path()) if study.name.endswith(".py")]
    assert [(study.name, study.kind, study.question) for study in files] == [
        ("computed.py", "search", ""),
        ("ideas/other.py", "search", QUESTION),
        ("mine.py", "ablation", QUESTION),
    ]
    assert all(study.cells is None for study in files)


def test_the_directory_of_the_shipped_studies_lists_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import search_spaces

    monkeypatch.chdir(Path(search_spaces.__path__[0]).parent)
    assert [study.name for study in list_studies(Path())].count("srem_ablation") == 1
    assert not [study for study in list_studies(Path()) if study.name.startswith("search_spaces/")]
