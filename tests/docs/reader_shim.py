"""The programs `raysearch` and `python` of a reader who follows the documentation, with smaller budgets.

The walk puts them in front of PATH, so that the pages' lines run in a real shell as they stand. A command of raysearch
gets documented flags on top, runs in a process of its own, and is checked: its exit code, its output, its files.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

RETRIEVAL = ["--set", "train.iterations=1", "--set", "train.epochs=1", "--set", "warmup.iterations=1"]
FEWSHOT = ["--set", "train.epochs=1", "--set", "train.episodes=4", "--set", "episodes.validation=4", "--episodes", "4"]
RUN_FILES = ("report.html", "results.parquet", "study.json", "cells", "tables")


def main(program: str, words: list[str]) -> int:
    """Run the program with its words; return its exit code, or 70 after a fault that the exit code does not show."""
    python = os.environ["READER_PYTHON"]
    if program == "python":
        if words[:1] != ["-m"] or not words[1].startswith("raysearch."):
            return subprocess.run([python, *words], check=False).returncode
        words = [words[1].removeprefix("raysearch."), *words[2:]]
    words = [words[0], *with_photographs(words[1:], words[0])]
    extra = budget(words)
    print(f"$ raysearch {shlex.join([*words, *extra])}", flush=True)
    code, output = run([python, "-m", "raysearch", *words, *extra], live="--live" in words)
    if words[0] == "sweep" and "--explain" not in words:
        know_as(Path(f"runs/{Path(words[1]).stem}-laptop"), output)
    if "--explain" in words and code == 2 and "is the reference itself" in output:
        return 0  # so small a search may find nothing better
    faults = [f"exit code {code}"] if code else []
    faults += ["a traceback"] if "Traceback (most recent call last)" in output else []
    faults += [f"no {path}" for path in promised(words, output) if not Path(path).exists()]
    with Path(os.environ["READER_LOG"]).open("a") as log:
        log.write(json.dumps({"words": words, "faults": faults, "output": output[-4000:]}) + "\n")
    return code or (70 if faults else 0)


def with_photographs(words: list[str], name: str) -> list[str]:
    """Return the words of a sweep or training on the reader's photographs instead of the embedded data set."""
    shards = os.environ.get("READER_SHARDS")
    if (
        not shards
        or name not in ("sweep", "train")
        or {"--data", "--from", "--settings", "--list", "--explain"} & set(words)
    ):
        return words
    return [*words, "--data", shards]


def budget(words: list[str]) -> list[str]:
    """Return documented flags that make a command short."""
    name, *rest = words
    if {"--settings", "--list", "--help"} & set(rest):
        return []
    if name == "train" and rest[0] == "fewshot":
        return [*FEWSHOT, "--set", "episodes.queries=5"] if "READER_SHARDS" in os.environ else FEWSHOT
    if name == "train":
        return RETRIEVAL if rest[0] == "retrieval" else []
    if name == "sweep" and "--explain" in rest:
        return [] if "--dry-run" in rest else ["--seeds", "1"]  # the rest is that of the search
    if name == "sweep" and "--dry-run" not in rest:
        flags = ["--seeds", "1", *RETRIEVAL, *(["--trials", "2"] if "search" in rest[0] else [])]
        return [*flags, *os.environ.get("READER_FLAGS", "").split()]
    return []


def promised(words: list[str], output: str) -> list[str]:
    """Return the files that a command writes, by its words or by its own account."""
    name, *rest = words
    places = [re.split("[:;]", line.split("wrote ")[1])[0] for line in output.splitlines() if line.startswith("wrote ")]
    values = [rest[index + 1] for index, word in enumerate(rest[:-1]) if word in ("--out", "--export")]
    if name == "sweep" and not {"--dry-run", "--settings", "--list"} & set(rest):
        (run,) = re.findall(r"^report: (.*)/report\.html", output, re.MULTILINE) or ["a report"]
        return [*(f"{run}/{file}" for file in RUN_FILES), *values, *places]
    if name == "ingest" and rest[0] != "verify":
        return [f"{rest[2]}/manifest.json"]
    if name == "retrieve" and rest[0] == "index":
        return [rest[3]]
    if name == "report" and "--live" not in rest:
        pages = [line.strip() for line in output.splitlines() if line.strip().endswith(".html")]
        return [*(pages or ["page in the report's output"]), *values]
    return [*values, *places]


def know_as(name: Path, output: str) -> None:
    """Let a run on photographs also have the name that the pages give to the run on the embedded data set."""
    for run in re.findall(r"^report: (.*)/report\.html", output, re.MULTILINE):
        if "READER_SHARDS" in os.environ and not name.exists():
            name.symlink_to(Path(run).resolve())


def run(command: list[str], live: bool) -> tuple[int, str]:
    """Run a command and show its output. A live page is stopped as a reader stops it, once it has its address."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
        if live and "http://127.0.0.1" in line:
            process.send_signal(signal.SIGINT)
    code = process.wait()
    return (0 if live and code == 130 else code), "".join(lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).name, sys.argv[2:]))
