"""A reader follows README and docs from the first line to the last, in one directory and a real shell.

The reader has a fresh home, photographs in folders of classes, and a checkout. The second reader has the home that the
first one left, and trains on the photographs. Blocks that are marked as needing a cluster or a GPU are left out.
"""

from pathlib import Path

import pytest

from .pages import ROOT, Page
from .reader import Reader

PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("data", "studies", "searches", "inference", "reports", "reliability")),
    "docs/your_model.md",
    "docs/extending.md",
    "docs/performance.md",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the readers, empty before the first one."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
@pytest.mark.parametrize("data", ["embedded", "photographs"])
def test_a_reader_follows_the_pages(data: str, home: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "checkout", home)
    if data == "photographs":
        reader.shell("raysearch ingest auto photos/ mine/")
        reader.environment["READER_SHARDS"] = "mine/"
    faults = []
    for block in [block for name in PAGES for block in Page(ROOT / name).blocks if not block.marked]:
        print(block, flush=True)
        for fault in reader.follow(block):
            print(fault, flush=True)
            faults.append(f"{block}: {fault}")
    assert not faults, "\n\n".join(faults)
