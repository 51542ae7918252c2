"""The users of the machine, for the tests of this folder, and a folder that all of them can reach."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .users import attacker, make_user, victim

__all__ = ["attacker", "make_user", "tmp_path", "victim"]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of its own: another session of pytest that starts meanwhile closes the one around pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="raysearch-users-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
