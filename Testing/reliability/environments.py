"""SlicReg's wheel in other environments: Pythons, old and new packages, and places where programs often fail.

    python Testing/reliability/environments.py [--folder F] [--only NAME ...] [--real SCAN TEMPLATE MODEL]

Needs `uv` on the path, which makes the environments; the Pythons are those that it finds, and UV_* variables, such as
UV_FIND_LINKS or UV_TORCH_BACKEND, choose where packages come from. Each environment gets the wheel of this checkout and
then, outside of it, shows the version and a model, registers two coarse phantoms with a tiny model, and trains for two
iterations; Dice must be that of this interpreter, to .03. The last group changes the circumstances, not the packages.
Environments are kept in FOLDER (several GB) and used again. --real: also measure the memory of a registration of these
files. Prints a Markdown table; exit code 1 if a check failed. "not available" is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "SlicRegExtension" / "SlicReg")]
SCENE_TESTS = tuple(f"test_nodes_{name}.py" for name in ("volumes", "transforms", "segmentations", "checks"))


@dataclass(frozen=True)
class Packages:
    """A Python with packages. words: more words of `uv pip install`. tests: of this checkout, to be run in it."""

    python: str
    words: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


ENVIRONMENTS = {
    "lowest versions of all dependencies": Packages("3.10", ("--resolution", "lowest-direct")),
    "newest packages, Python 3.10": Packages("3.10"),
    "numpy 1.26": Packages("3.11", ("numpy==1.26.4", "torch==2.13.0")),
    "newest packages, Python 3.12": Packages("3.12"),
    "newest packages, Python 3.13": Packages("3.13"),
    "slicer-core 5.12": Packages(
        "3.11", ("torch==2.13.0", "slicer-core==5.12.4.0", "PySide6-Essentials", "pytest", "pydicom"), SCENE_TESTS
    ),
    "slicer-core 5.13": Packages(
        "3.11", ("torch==2.13.0", "slicer-core==5.13.31053.0", "PySide6-Essentials", "pytest", "pydicom"), SCENE_TESTS
    ),
}
HOME = "numpy 1.26"
"""The environment in which the circumstances are changed."""


class NotAvailable(Exception):
    """Something that this computer or its package index does not have."""


def run(command: list, **options) -> subprocess.CompletedProcess:
    """Run a command; AssertionError with its last lines where it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError(" / ".join((done.stdout + done.stderr).strip().splitlines()[-2:])[-300:])
    return done


class Trial:
    """The wheel, the data, and what is done with both."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        self.wheel = self._build()
        self.expected = self._make_data()

    def _build(self) -> Path:
        shutil.rmtree(self.folder / "wheel", ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation"]
        run([*pip, "--wheel-dir", self.folder / "wheel", ROOT])
        return next((self.folder / "wheel").glob("*.whl"))

    def _make_data(self) -> float:
        """Write a model, a study and two phantoms; returns the Dice that this interpreter reaches."""
        from SlicRegLib.registration.model import save_model
        from SlicRegLib.teaching.create import StudyPlan, create_study
        from study_samples import FRAME, CentreTeacher
        from tiny import phantom, save_volume, tiny_model, tiny_study

        self.data.mkdir(parents=True, exist_ok=True)
        study = tiny_study(self.data)
        save_model(self.data / "tiny.slicreg", tiny_model(study))
        plan = StudyPlan(
            template_path=self.data / "template.nii.gz",
            images=self.data / "img",
            folder=self.data / "training",
            teacher=CentreTeacher(),
            preparation=FRAME,
        )
        create_study(plan)
        for seed, name, suffix in ((0, "fixed", ".nii.gz"), (1, "moving", ".nrrd")):
            for kind, volume in zip(("", "_labels"), phantom(seed), strict=True):
                save_volume(self.data / f"{name}{kind}{suffix}", volume)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "SlicRegExtension" / "SlicReg")}
        return self.register([sys.executable, "-m", "SlicRegLib"], self.folder / "expected", env=environment)

    def install(self, name: str, packages: Packages) -> Path:
        """The environment's Python, with the wheel of now."""
        place = self.folder / "environments" / name.replace(" ", "_").replace(",", "")
        python = place / "bin" / "python"
        if not python.exists():
            command = ["uv", "venv", "-q", "--python", packages.python, str(place)]
            if subprocess.run(command, capture_output=True).returncode:
                raise NotAvailable(f"no Python {packages.python}")
        pip = ["uv", "pip", "install", "-q", "--python", python]
        # not the wheel's dependencies, to which --resolution lowest-direct would not apply
        done = subprocess.run([*pip, "-r", ROOT / "pyproject.toml", *packages.words], capture_output=True, text=True)
        if done.returncode:
            raise NotAvailable(done.stderr.strip().splitlines()[-1][-200:])
        run([*pip, "--no-deps", "--reinstall", self.wheel])  # the version does not change with the source
        return python

    def check(self, python: Path, tests: tuple[str, ...] = ()) -> str:
        """All that is asked of an environment; returns what was found, in words."""
        slicreg = [python, "-m", "SlicRegLib"]
        run([*slicreg, "--version"], cwd=self.folder)
        run([*slicreg, "info", "trunk-phantom"], cwd=self.folder)
        dice = self.register(slicreg, self.folder / "result")
        train = ["train", "--study", self.data / "training", "--iterations", 2, "--out"]
        with tempfile.TemporaryDirectory() as out:
            run([*slicreg, *train, Path(out) / "model.slicreg"], cwd=self.folder)
        words = f"Dice {dice:.3f} ({self.expected:.3f} here)"
        if tests:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "SlicRegExtension" / "SlicReg")}
            pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", *(ROOT / "Testing" / t for t in tests)]
            done = run(pytest, cwd=ROOT, env=environment)
            words += f"; {re.findall(r'[0-9]+ passed', done.stdout)[-1]} of the tests on Slicer's scene"
        if abs(dice - self.expected) > 0.03:
            raise AssertionError(words)
        return words

    def register(self, slicreg: list, out: Path, data: Path | None = None, **options) -> float:
        """Register the phantoms; returns the Dice after it."""
        data = data or self.data
        shutil.rmtree(out, ignore_errors=True)
        words = ["--model", data / "tiny.slicreg", "--overlays", "--out", out]
        for name, file in (("template", "fixed{}.nii.gz"), ("target", "moving{}.nrrd")):
            words += [f"--{name}", data / file.format(""), f"--{name}-label", data / file.format("_labels")]
        run([*slicreg, "register", *words], **{"cwd": self.folder, **options})
        return json.loads((out / "report.json").read_text())["after"]["mean_dice"]


def describe(python: Path) -> str:
    """Versions of Python and of the packages that matter most."""
    script = (
        "import sys, importlib.metadata as m; v = {d.metadata['Name'].lower(): d.version for d in m.distributions()};"
        "print('Python %d.%d.%d' % sys.version_info[:3], *(f'{n} {v[n]}' for n in "
        "('torch', 'numpy', 'scipy', 'simpleitk', 'slicer-core') if n in v), sep=', ')"
    )
    return run([python, "-c", script]).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "slicreg-environments")
    parser.add_argument("--only", nargs="+", default=(), help="words that the names must contain, one of them")
    parser.add_argument("--real", nargs=3, metavar=("SCAN", "TEMPLATE", "MODEL"))
    options = parser.parse_args()
    if not shutil.which("uv"):
        sys.exit("environments.py: uv is not on the path; install it with pip install uv.")
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
    trial, good = Trial(options.folder.resolve()), True

    def wanted(name: str) -> bool:
        return not options.only or any(word in name for word in options.only)

    print("| environment | with | result |\n|---|---|---|", flush=True)
    for name, packages in ENVIRONMENTS.items():
        if wanted(name):
            good &= report(name, lambda p=packages, n=name: _check_packages(trial, n, p))
    from circumstances import CIRCUMSTANCES, measure_real

    if any(wanted(name) for name in CIRCUMSTANCES):
        python = trial.install(HOME, ENVIRONMENTS[HOME])
        for name, circumstance in CIRCUMSTANCES.items():
            if wanted(name):
                good &= report(name, lambda c=circumstance: (HOME, c(trial, python)))
        if options.real:
            good &= report("memory of real scans", lambda: (HOME, measure_real(trial, python, *options.real)))
    return 0 if good else 1


def _check_packages(trial: Trial, name: str, packages: Packages) -> tuple[str, str]:
    python = trial.install(name, packages)
    return describe(python), trial.check(python, packages.tests)


def report(name: str, check: Callable[[], tuple[str, str]]) -> bool:
    """Print a row; returns whether the check did not fail."""
    started, what = time.monotonic(), ""
    try:
        what, words = check()
        good, words = True, f"passed: {words}"
    except NotAvailable as error:
        good, words = True, f"not available: {error}"
    except AssertionError as error:
        good, words = False, f"FAILED: {error}"
    print(f"| {name} | {what} | {words.replace('|', '/')} |", flush=True)
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
