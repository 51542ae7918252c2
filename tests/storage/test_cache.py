"""The cache of this machine: where it is, and who can enter it."""

import os
from pathlib import Path

import pytest

from raysearch.storage import cache


@pytest.mark.parametrize("before", [None, 0o755, 0o700])
def test_the_default_cache_is_closed_to_others(
    before: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAYSEARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if before is not None:
        (tmp_path / "raysearch").mkdir(mode=before)
    assert cache.cache_dir() == tmp_path / "raysearch"
    assert (tmp_path / "raysearch").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_a_group_shares_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o2775)
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    assert os.stat(tmp_path).st_mode & 0o7777 == 0o2775
