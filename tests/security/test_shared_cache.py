"""A cache on a lab's scratch folder, to which two users can write: links, forged files, and honest sharing."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from raysearch.data import shards, synthetic

from .users import User, needs_two_users

pytestmark = needs_two_users

NAMES = ("link", "forged", "open", "hard", "pipe", "free")
FETCH = """
import json, sys
from raysearch.core import UserError
from raysearch.storage import Location, local_copy
store = Location.parse("memory://store")
store.make_directory()
results = {}
for name, sha in json.loads(sys.argv[1]).items():
    content = (name * 100).encode()
    (store / name).write(content)
    try:
        path = local_copy(store / name, len(content), sha, cap=int(sys.argv[2]))
        results[name] = [str(path), path.read_bytes() == content]
    except UserError as error:
        results[name] = [str(error), False]
print(json.dumps(results))
"""
FEATURES = """
import sys
from pathlib import Path
import torch
from raysearch.tasks.common import cached
value = float(sys.argv[2])
print(float(cached(Path(sys.argv[1]), {"data": sys.argv[3]}, lambda: torch.full((3,), value)).sum()))
"""


def sha(name: str) -> str:
    return hashlib.sha256((name * 100).encode()).hexdigest()


def fetch(user: User, cache: Path, names: dict[str, str], cap: int = 10**9) -> dict[str, Any]:
    ended = user.python(FETCH, json.dumps(names), str(cap), RAYSEARCH_CACHE=str(cache))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder that every user may write to, without the sticky bit, as a group's folder of mode 2775 is to them."""
    folder = tmp_path / "scratch"
    (folder / "shards").mkdir(parents=True)
    for path in (folder, folder / "shards"):
        path.chmod(0o777)
    return folder


def test_files_that_another_user_planted_are_neither_followed_nor_used(
    victim: User, attacker: User, scratch: Path
) -> None:
    thesis = victim.write("thesis.tex", "my thesis")
    notes = victim.write("notes.txt", "my notes")
    folder = scratch / "shards"
    (folder / f"{sha('link')}.partial").symlink_to(thesis)
    (folder / sha("forged")).write_bytes(b"x" * len("forged" * 100))
    (folder / f"{sha('open')}.partial").touch()
    (folder / f"{sha('open')}.partial").chmod(0o666)
    os.mkfifo(folder / sha("pipe"), 0o666)
    os.mkfifo(folder / ("f" * 64), 0o666)  # which the search for old copies would open
    (folder / ("e" * 64)).symlink_to("nowhere")
    for path in folder.iterdir():
        os.chown(path, attacker.uid, attacker.uid, follow_symlinks=False)
        os.utime(path, (0, 0), follow_symlinks=False)
    os.link(notes, folder / f"{sha('hard')}.partial")

    results = fetch(victim, scratch, {name: sha(name) for name in NAMES}, cap=0)
    assert thesis.read_text() == "my thesis"
    assert notes.read_text() == "my notes"
    assert {name: right for name, (_, right) in results.items()} == dict.fromkeys(NAMES, True)
    own = victim.home / ".cache/raysearch/shards"
    assert {name for name, (path, _) in results.items() if Path(path).parent == own} == set(NAMES) - {"free"}
    assert results["free"][0] == str(folder / sha("free"))


def test_a_name_in_a_manifest_leads_nowhere_else(victim: User, scratch: Path) -> None:
    (victim.home / "work.partial").write_text("my work")
    os.chown(victim.home / "work.partial", victim.uid, victim.uid)
    names = {"up": "../../home-20001/work", "absolute": str(victim.home / "work"), "short": "abc"}
    for text, _ in fetch(victim, scratch, names).values():
        assert "is not a SHA-256" in text
    assert (victim.home / "work.partial").read_text() == "my work"


def test_a_linked_folder_of_copies_loses_no_file(victim: User, attacker: User, tmp_path: Path) -> None:
    """Old copies are removed to make room: a planted link must not turn that against a folder of the user."""
    photo = victim.write("photos/holiday.jpg", "x" * 5000)
    os.utime(photo, (0, 0))
    scratch = tmp_path / "linked"
    scratch.mkdir()
    (scratch / "shards").symlink_to(photo.parent)
    attacker.own(scratch)
    scratch.chmod(0o777)
    results = fetch(victim, scratch, {"free": sha("free")}, cap=10)
    assert photo.exists()
    assert results["free"][1]
    assert list(photo.parent.iterdir()) == [photo]


def test_a_group_shares_a_cache_that_it_can_only_read(victim: User, attacker: User, tmp_path: Path) -> None:
    """A colleague filled it. The copies are used where they are, by their hashes; what is missing goes to the home."""
    scratch = tmp_path / "group"
    (scratch / "shards").mkdir(parents=True)
    (scratch / "shards" / sha("free")).write_bytes(("free" * 100).encode())
    attacker.own(scratch)
    for path in (scratch, scratch / "shards"):
        path.chmod(0o755)
    results = fetch(victim, scratch, {"free": sha("free"), "link": sha("link")})
    assert results["free"] == [str(scratch / "shards" / sha("free")), True]
    assert results["link"] == [str(victim.home / ".cache/raysearch/shards" / sha("link")), True]
    shared = {"RAYSEARCH_CACHE": str(scratch)}
    ended = victim.python(FEATURES, str(scratch / "features"), "2", "x", **shared)
    assert ended.stdout == "6.0\n", ended.stderr
    assert [path.name for path in scratch.iterdir()] == ["shards"]


def test_forged_features_are_not_used(victim: User, attacker: User, scratch: Path) -> None:
    """Neither those of another user, nor the user's own under another name."""
    shared = {"RAYSEARCH_CACHE": str(scratch)}
    folder = str(scratch / "features")
    assert attacker.python(FEATURES, folder, "9", "x", **shared).stdout == "27.0\n"
    for _ in range(2):
        ended = victim.python(FEATURES, folder, "2", "x", **shared)
        assert ended.stdout == "6.0\n", ended.stderr
    own = victim.home / ".cache/raysearch/features"
    (first,) = own.iterdir()
    assert victim.python(FEATURES, folder, "3", "y", **shared).stdout == "9.0\n"
    (second,) = set(own.iterdir()) - {first}
    first.write_bytes(second.read_bytes())
    assert victim.python(FEATURES, folder, "2", "x", **shared).stdout == "6.0\n"
    second.write_bytes(second.read_bytes()[:-40])  # cut
    assert victim.python(FEATURES, folder, "3", "y", **shared).stdout == "9.0\n"


def test_no_place_of_another_user_is_taken_for_data_or_runs(victim: User, attacker: User, scratch: Path) -> None:
    """The embedded data set, the mirror of a run in a store, the staging of an upload, and interrupted work."""
    code = """
import sys
from pathlib import Path
from raysearch.data import synthetic
from raysearch.data.shards import publish
from raysearch.data.shards.workdir import resumable_workdir
from raysearch.runs import RunLocation
from raysearch.storage import Location, cache_dir
spec = synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=16)
print(synthetic.ensure_shards(spec, cache_dir()))
print(RunLocation("memory://bucket/run").directory)
print(publish.staging_directory(Location.parse("memory://bucket/cub")))
with resumable_workdir(cache_dir() / "cub", "0" * 12, "*") as folder:
    print(sorted(path.name for path in folder.iterdir()))
"""
    shared = {"RAYSEARCH_CACHE": str(scratch)}
    planted = attacker.python(code, **shared)
    assert planted.returncode == 0, planted.stderr
    names = planted.stdout.split("\n")
    for name in (names[1], names[2]):
        Path(name).mkdir(parents=True)
    interrupted = scratch / f".cub.{'0' * 12}.{'1' * 12}.partial"
    interrupted.mkdir()
    for name in ("lock", "forged.parquet"):
        (interrupted / name).touch()
    for path in scratch.rglob("*"):
        os.chown(path, attacker.uid, attacker.uid)
        path.chmod(0o777 if path.is_dir() else 0o666)
    ended = victim.python(code, **shared)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.split("\n")
    own = victim.home / ".cache/raysearch"
    assert [Path(line).is_relative_to(own) for line in lines[:3]] == [True] * 3
    assert lines[3] == "['lock']"
    spec = synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=16)
    expected = synthetic.ensure_shards(spec, scratch.parent / "again")
    assert shards.read_manifest(lines[0]).content_hash == shards.read_manifest(expected).content_hash
