"""The programs that ``wall.py`` times: how a user starts each, and where it leaves its field.

As a script, it is the process of a tool that is a Python package: it loads, registers with the adapter of
``peer_tools.py``, and writes the field and the warped scan.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import SimpleITK as sitk

from peer_tools import ants_syn, convexadam, elastix, field_from_itk, find_version, hash_files, stay
from programs import Cost, run_program
from SlicRegLib import __version__
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.preparation import AIR_HU
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.teaching.deeds import PROGRAMS, read_deeds

ADAPTERS = {  # what each needs, its title, its adapter
    "start": ("torch", "Python that loads and writes, no registration", stay),
    "convexadam": ("convexAdam", "convexAdam", convexadam),
    "ants-syn": ("antspyx", "ANTs SyN", ants_syn),
    "elastix": ("itk-elastix", "elastix affine + b-spline", partial(elastix, stages=("affine", "bspline"))),
}
ORDER = ("cold", "warm", "deeds", "greedy", "convexadam", "ants-syn", "elastix", "start")


@dataclass(frozen=True)
class Inputs:
    """Files of a pair: the scans and their labels, and both scans on one grid (fixed, moving), for tools that need it:
    in HU, and in HU + 1024 without negative values (the names that end in ``positive``)."""

    template: Path
    target: Path
    template_label: Path
    target_label: Path
    fixed: Path
    moving: Path
    fixed_positive: Path
    moving_positive: Path


@dataclass(frozen=True)
class Program:
    """A row of the table."""

    title: str
    version: str | None
    """None: not installed."""
    run: Callable[[Path], Cost]
    """Register once and write the results into an empty folder."""
    read: Callable[[Path], DisplacementField]
    """The field template -> target, RAS mm, from that folder."""
    kind: str = "peer"
    """"ours", "peer" or, for what registers nothing, "start"."""


# --- this project ---


def make_words(inputs: Inputs, model: Path, out: Path) -> list[str]:
    """What `slicreg register` is given."""
    files = {
        "model": model,
        "template": inputs.template,
        "target": inputs.target,
        "template-label": inputs.template_label,
        "target-label": inputs.target_label,
        "out": out,
    }
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    return [*words, "--overlays", "--device", "cpu"]


class Served:
    """Registrations by a process that stays. It starts, and registers once unmeasured, when it is first called."""

    def __init__(self, command: list[str], threads: int):
        """command: `slicreg serve`, with its options."""
        self._command, self._environment = command, {**os.environ, **make_environment(threads)}
        self._process: subprocess.Popen[str] | None = None

    def register(self, words: list[str]) -> Cost:
        """From the request to the answer, with the results on the disk; the peak is that of the process until then."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._ask(words)
        before, started = self._cpu_seconds(), time.perf_counter()
        self._ask(words)
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        return Cost(seconds, self._cpu_seconds() - before, peak)

    def close(self) -> None:
        """Let the process end."""
        if self._process:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()

    def _ask(self, words: list[str]) -> None:
        print(json.dumps({"id": 1, "command": "register", "arguments": words}), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            answer = json.loads(line)
            if "exit_code" in answer:
                if answer["exit_code"]:
                    raise RuntimeError(answer["error"])
                return
        raise RuntimeError("`slicreg serve` has ended")

    def _cpu_seconds(self) -> float:
        return sum(psutil.Process(self._process.pid).cpu_times()[:4])  # user, system, and those of its children


# --- other programs ---

GREEDY = """
import sys
from picsl_greedy import Greedy3D

for words in sys.argv[1:]:
    Greedy3D().execute(words)
"""
"""One process, one command of greedy after the other."""


def run_greedy(inputs: Inputs, threads: int, environment: dict[str, str], out: Path) -> Cost:
    """Affine and deformable with NCC of radius 2 and three levels, as greedy's guide has it; then the warped scan."""
    pair = f"-i {inputs.fixed_positive} {inputs.moving_positive} -m NCC 2x2x2 -n 100x50x10"
    common = f"-d 3 -threads {threads} -V 0"
    steps = (
        f"{common} -a {pair} -ia-image-centers -o {out}/affine.mat",
        f"{common} {pair} -it {out}/affine.mat -o {out}/warp.nii.gz",
        f"{common} -rf {inputs.fixed_positive} -rm {inputs.moving_positive} {out}/warped.nii.gz "
        f"-r {out}/warp.nii.gz {out}/affine.mat",
    )
    return run_program([sys.executable, "-c", GREEDY, *steps], environment)


def read_greedy(inputs: Inputs, out: Path) -> DisplacementField:
    """Warp and affine map, composed by greedy itself."""
    step = f"-d 3 -V 0 -rf {inputs.fixed_positive} -rc {out}/composed.nii.gz -r {out}/warp.nii.gz {out}/affine.mat"
    run_program([sys.executable, "-c", GREEDY, step], {})
    vectors = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "composed.nii.gz")))
    return field_from_itk(vectors, load_scan(inputs.fixed).grid)


def run_deeds(inputs: Inputs, folder: Path, environment: dict[str, str], out: Path) -> Cost:
    """linearBCV, then deedsBCV with its defaults, which also writes the warped scan."""
    files = ["-F", inputs.fixed_positive, "-M", inputs.moving_positive, "-O", out / "result"]
    linear, deformable = (folder.resolve() / name for name in PROGRAMS)
    first = run_program([linear, *files], environment)
    return first + run_program([deformable, *files, "-A", out / "result_matrix.txt"], environment)


def run_adapter(key: str, inputs: Inputs, threads: int, environment: dict[str, str], out: Path) -> Cost:
    """A tool of `ADAPTERS` in a Python process of its own."""
    return run_program([sys.executable, __file__, key, inputs.fixed, inputs.moving, out, str(threads)], environment)


def register_with_adapter(key: str, fixed: Path, moving: Path, out: Path, threads: int) -> None:
    """What that process does."""
    template, target = load_scan(fixed), load_scan(moving)
    field = ADAPTERS[key][2](template, target, threads)
    save_transform(out / "transform.h5", field)
    warped = resample(target.tensor, target.grid, template.grid, field, fill=AIR_HU)[0]
    save_volume(out / "warped.nii.gz", Volume(warped.numpy(), template.grid))


# --- all programs ---


def list_programs(
    inputs: Inputs, model: Path, slicreg: list[str], served: Served, deeds_folder: Path | None, threads: int
) -> dict[str, Program]:
    """Every row that can be chosen, by its key, in `ORDER`."""
    environment = make_environment(threads)
    read = partial(_read_transform, "transform.h5")

    def run_cold(out: Path) -> Cost:
        return run_program([*slicreg, "register", *make_words(inputs, model, out)], environment)

    def run_warm(out: Path) -> Cost:
        panel = ("--no-picture", "--transform-format", "nrrd")
        return served.register([*make_words(inputs, model, out), *panel])

    programs = {
        "cold": Program("SlicReg, the whole command", __version__, run_cold, read, "ours"),
        "warm": Program(
            "SlicReg, in the process that stays",
            __version__,
            run_warm,
            partial(_read_transform, "transform.nrrd"),
            "ours",
        ),
        "greedy": Program(
            "greedy affine + NCC",
            find_version("picsl-greedy"),
            partial(run_greedy, inputs, threads, environment),
            partial(read_greedy, inputs),
        ),
    }
    if deeds_folder:
        build = hash_files(*(deeds_folder / name for name in PROGRAMS))
        programs["deeds"] = Program(
            "deeds", build, partial(run_deeds, inputs, deeds_folder, environment), partial(_read_deeds, inputs)
        )
    for key, (package, title, _) in ADAPTERS.items():
        run = partial(run_adapter, key, inputs, threads, environment)
        programs[key] = Program(title, find_version(package), run, read, "start" if key == "start" else "peer")
    return {key: programs[key] for key in ORDER if key in programs}


def make_environment(threads: int) -> dict[str, str]:
    """Variables that hold every program to this number of threads; none where that is every core, as for a user."""
    if threads == os.cpu_count():
        return {}
    return {"OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}


def _read_transform(name: str, out: Path) -> DisplacementField:
    return load_transform(out / name)


def _read_deeds(inputs: Inputs, out: Path) -> DisplacementField:
    return read_deeds(out / "result", load_scan(inputs.fixed).grid, load_scan(inputs.moving).grid)


if __name__ == "__main__":
    register_with_adapter(sys.argv[1], *map(Path, sys.argv[2:5]), int(sys.argv[5]))
