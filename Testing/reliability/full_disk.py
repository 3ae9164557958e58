"""Runs every command on disks that fill up, more and more late, and prints a table of what happened.

    python Testing/reliability/full_disk.py [--points 20] [command ...]

Needs root, since a small disk is mounted for each run. A run passes if it ends with exit code 0 and whole files, or
with exit code 2, one sentence and no partial file; nothing at all may be left of a registration or a check. The other
commands are repeated on a larger disk, where they continue from what was left, and must then end with exit code 0.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import QUICK, SHAPE, make_small, words
from disks import broken_files, small_disk
from SlicRegLib.cli.main import main
from SlicRegLib.registration.model import save_model
from tiny import tiny_model, tiny_study

LARGE = 256 << 20
"""Bytes of a disk that does not fill up."""
RESUMED = ("evaluate", "batch", "prepare", "train", "learn", "demo")
"""Commands that keep whole files when they fail; of the others nothing is left."""


def make_commands(data: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Name -> its words for an output folder."""
    study = tiny_study(data)
    model = data / "tiny.slicreg"
    save_model(model, tiny_model(study))
    cohort = {"template": data / "template.nii.gz", "images": data / "img"}
    labels = {"template_label": data / "template_label.nii.gz"}
    pair = {"template": data / "template.nii.gz", "target": data / "img" / "pt_1.nii.gz", **labels}
    few = {"iterations": 2, "batch": 1}

    def evaluate(out: Path) -> list[str]:
        more = {**labels, "labels": data / "label"}
        return words("evaluate", model=model, out=out.parent / "results.json", **cohort, **more, **QUICK)

    return {
        "register": lambda out: words("register", model=model, out=out / "new" / "one", overlays=True, **pair, **QUICK),
        "evaluate": evaluate,
        "check": lambda out: words("check", out=out, jobs=1, **cohort),
        "batch": lambda out: words("batch", model=model, out=out, **cohort, **labels, **QUICK),
        "prepare": lambda out: words("prepare", out=out, jobs=1, **cohort, **SHAPE),
        "train": lambda out: words("train", study=study.folder, out=out / "model.slicreg", **few),
        "learn": lambda out: words("learn", out=out, name="tiny", jobs=1, **cohort, **SHAPE, **few),
    }


def resume(command: str, arguments: list[str], out: Path) -> list[str]:
    """The words that resume a command; `train` needs --resume where there is a checkpoint."""
    return [*arguments, "--resume"] if command == "train" and (out / "model.checkpoint").is_file() else arguments


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], list[str]]]:
    """Collects what Python, C and C++ print to stderr; stdout is dropped. Yields a function that returns the lines."""
    with tempfile.TemporaryFile("w+") as file, open(os.devnull, "w") as nothing:
        before = [os.dup(1), os.dup(2)]
        streams = sys.stdout, sys.stderr
        os.dup2(nothing.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = nothing, open(os.dup(2), "w")  # noqa: SIM115  closed below
        try:

            def lines() -> list[str]:
                sys.stderr.flush()
                file.seek(0)
                return file.read().splitlines()

            yield lines
        finally:
            sys.stderr.close()
            sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(before, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def run(arguments: list[str]) -> tuple[int, list[str]]:
    """Exit code, and the lines on stderr; a traceback is exit code 1."""
    with captured() as lines:
        try:
            code = main([*arguments, "--json"])
        except Exception as error:
            return 1, [repr(error)]
        return code, lines()


def find_fault(command: str, disk: Path, out: Path, code: int, lines: list[str]) -> str:
    """What is wrong with the end of a run; "" if nothing."""
    if broken := broken_files(disk):
        return f"not whole: {broken}"
    if code == 0:
        return ""
    if code != 2:
        return f"exit code {code}: {lines}"
    first = lines[0] if lines else ""
    if not first.startswith("slicreg: ") or "Traceback" in str(lines) or (len(lines) > 1 and command != "batch"):
        return f"no sentence: {lines}"
    if command not in RESUMED and any(disk.iterdir()):
        return f"left: {sorted(str(path.relative_to(disk)) for path in disk.rglob('*'))}"
    return ""


def sweep(command: str, arguments: Callable[[Path], list[str]], disk: Path, points: int) -> dict[str, object]:
    """Runs a command on ``points`` disks; returns the counts for the table."""
    out, began = disk / "out", time.monotonic()
    with small_disk(disk, LARGE):
        code, lines = run(arguments(out))
        assert code == 0, lines
        needed = sum(path.stat().st_blocks * 512 for path in disk.rglob("*")) + 4096 * len(list(disk.rglob("*")))
    counts: dict[str, object] = {"command": command, "runs": points, "whole": 0, "refused": 0, "resumed": 0}
    faults = []
    for point in range(points):
        size = 4096 + int(1.1 * needed * point / max(1, points - 1)) // 4096 * 4096
        with small_disk(disk, size):
            code, lines = run(arguments(out))
            counts["whole" if code == 0 else "refused"] += 1  # type: ignore[operator]
            fault = find_fault(command, disk, out, code, lines)
            if not fault and code == 2 and command in RESUMED:
                subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(disk)], check=True)
                code, lines = run(resume(command, arguments(out), out))
                fault = f"not resumed: {lines}" if code else find_fault(command, disk, out, code, lines)
                counts["resumed"] += not fault  # type: ignore[operator]
            if fault:
                faults.append(f"{size} bytes: {fault}")
    return {**counts, "faults": len(faults), "seconds": round(time.monotonic() - began), "texts": faults}


def print_table(rows: list[dict[str, object]]) -> None:
    columns = [name for name in rows[0] if name != "texts"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(row[name]) for name in columns)} |")
        for text in row["texts"]:  # type: ignore[attr-defined]
            print(f"  {row['command']}: {text}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="which; all by default")
    parser.add_argument("--points", type=int, default=20, help="disks for each command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        found = make_commands(Path(folder) / "data")
        rows = [
            sweep(name, found[name], Path(folder) / "disk", options.points) for name in options.commands or list(found)
        ]
    print_table(rows)
    sys.exit(any(row["faults"] for row in rows))
