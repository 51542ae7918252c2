"""Two real users of one machine, as user ids without an account. Only root can run a process as another user.

Python and the checkout may be in folders that only root can enter, such as /root. Each process of a user therefore has
a view of the file system of its own, in which the ways to these two are open. Nothing changes for other processes.
"""

import atexit
import functools
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VICTIM = 20001
ATTACKER = 20002


def _closed_folder(path: Path) -> Path | None:
    """Return the topmost folder above a path that other users cannot enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)


@functools.cache
def _opened() -> list[str]:
    """Return the beginning of a command line that opens the ways to Python and to the checkout, then runs the rest."""
    folders = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), REPOSITORY})
    needed = [folder for folder in folders if not any(other in folder.parents for other in folders)]
    closed = {folder: above for folder in needed if (above := _closed_folder(folder))}
    stage = Path(tempfile.mkdtemp(prefix="raysearch-open"))
    atexit.register(shutil.rmtree, stage, ignore_errors=True)
    lines = ["set -e"]
    for number, folder in enumerate(closed):
        (stage / str(number)).mkdir()
        lines.append(f"mount --rbind {shlex.quote(str(folder))} {stage}/{number}")
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(above))}" for above in sorted(set(closed.values()))]
    for number, folder in enumerate(closed):
        lines += [f"mkdir -p {shlex.quote(str(folder))}", f"mount --rbind {stage}/{number} {shlex.quote(str(folder))}"]
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "; ".join([*lines, 'exec "$@"']), "sh"]


def with_open_paths() -> list[str]:
    """Return the beginning of a command line whose rest reaches Python and the checkout as any user."""
    return _opened()


def _why_not() -> str:
    """Return why no process can run as another user here, or ""."""
    if os.getuid() != 0 or not all(map(shutil.which, ("setpriv", "unshare"))):
        return "only root, with setpriv and unshare of util-linux, can run processes as other users"
    tried = subprocess.run([*_opened(), "true"], capture_output=True, text=True)
    return f"this machine cannot open Python to other users: {tried.stderr.strip()}" if tried.returncode else ""


needs_two_users = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


@dataclass(frozen=True)
class User:
    """A user id with a home of its own, which others may enter, as on many shared machines."""

    uid: int
    home: Path

    def command(self, *words: str) -> list[str]:
        """Return a command line that runs as this user, without further groups."""
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return [*_opened(), "setpriv", *ids, "--inh-caps=-all", *words]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of this user's processes, without the settings of who runs the tests."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY", "AWS_"))}
        folders = {"HOME": str(self.home), "RAYSEARCH_CACHE": str(self.home / "cache"), "PYTHONPATH": str(REPOSITORY)}
        return inherited | folders | {"PYTHONDONTWRITEBYTECODE": "1"} | more

    def run(self, *words: str, timeout: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            words: of the command.
            timeout: in seconds.
            more: environment variables.
        """
        return subprocess.run(
            self.command(*words),
            env=self.environment(**more),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            umask=0o022,
        )

    def python(self, code: str, *arguments: str, timeout: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python code to its end; see `run`."""
        return self.run(sys.executable, "-c", code, *arguments, timeout=timeout, **more)

    def raysearch(self, command: str, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of raysearch, such as "sweep", to its end."""
        return self.run(sys.executable, "-m", f"raysearch.{command}", *words, timeout=timeout)

    @contextmanager
    def start(self, *words: str, **more: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a command, and end it with its children when the block ends."""
        process = subprocess.Popen(
            self.command(*words),
            env=self.environment(**more),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=0o022,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> Path:
        """Write a file of this user below the home, and return its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        for owned in (path, *path.parents):
            if owned == self.home:
                break
            os.chown(owned, self.uid, self.uid, follow_symlinks=False)
        return path

    def own(self, folder: Path) -> Path:
        """Give a folder with all that is in it to this user, and return it."""
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)
        return folder


@pytest.fixture
def make_user(tmp_path: Path) -> Callable[[int], User]:
    """A function user id -> `User`, whose home is below the test's folder."""
    for folder in (tmp_path, *tmp_path.parents):  # pytest closes its folders to others
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)

    def _make(uid: int) -> User:
        home = tmp_path / f"home-{uid}"
        home.mkdir(mode=0o755)
        os.chown(home, uid, uid)
        return User(uid, home)

    return _make


@pytest.fixture
def victim(make_user: Callable[[int], User]) -> User:
    """Who runs raysearch."""
    return make_user(VICTIM)


@pytest.fixture
def attacker(make_user: Callable[[int], User]) -> User:
    """Another user of the machine."""
    return make_user(ATTACKER)
