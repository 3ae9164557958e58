"""Circumstances in which programs often fail, for environments.py: each function registers and says what it found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

GB = 2**30
NOBODY = "65534"
MEASURE = (
    "import json, resource, runpy, sys;"
    "limit = int(sys.argv[1]);"
    "limit and resource.setrlimit(resource.RLIMIT_AS, (limit, limit));"
    "sys.argv = ['slicreg', *sys.argv[2:]];"
    "from SlicRegLib.cli.main import main;"
    "code = main();"
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr);"
    "sys.exit(code)"
)


def _environment(**changes: str | None) -> dict[str, str]:
    """This process's variables with changes; None removes one."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    variables |= {k: v for k, v in changes.items() if v is not None}
    return {k: v for k, v in variables.items() if changes.get(k, "") is not None}


def _registered(trial: Any, dice: float) -> str:
    assert abs(dice - trial.expected) < 0.03, f"Dice {dice:.3f}"
    return f"Dice {dice:.3f}"


def read_only_installation(trial: Any, python: Path) -> str:
    """Installation and data belong to root and cannot be written; the user is nobody."""
    if os.name == "nt" or os.geteuid() != 0 or not shutil.which("setpriv"):
        raise _not_available("needs root and setpriv")
    with tempfile.TemporaryDirectory() as out:
        os.chmod(out, 0o777)
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if subprocess.run([*user, str(python), "-c", ""], capture_output=True).returncode:
            raise _not_available("its Python cannot be run by another user")
        for place in (python.parents[1] / "lib", trial.data):
            assert subprocess.run([*user, "test", "-w", str(place)]).returncode, f"{place} can be written"
        environment = _environment(HOME="/nonexistent")
        return _registered(
            trial, trial.register([*user, python, "-m", "SlicRegLib"], Path(out) / "result", cwd="/", env=environment)
        )


def no_network(trial: Any, python: Path) -> str:
    """A network namespace without an interface."""
    unshare = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        raise _not_available("needs unshare -n")
    return _registered(trial, trial.register([*unshare, python, "-m", "SlicRegLib"], trial.folder / "result"))


def two_gigabytes(trial: Any, python: Path) -> str:
    """The address space is limited to 2 GB; the phantoms of `slicreg demo`, with the bundled model."""
    from tiny import Grid, Volume, make_phantom, save_volume

    paths = [trial.folder / f"trunk_{seed}.nii.gz" for seed in (0, 1001)]
    for path, seed in zip(paths, (0, 1001), strict=True):
        if not path.exists():
            subject = make_phantom(seed)
            save_volume(path, Volume(subject.image, Grid(subject.image.shape, subject.affine)))
    return measure(trial, python, paths[1], paths[0], "trunk-phantom", 2 * GB)


def measure_real(trial: Any, python: Path, scan: str, template: str, model: str) -> str:
    """The same with real scans, and without a limit where 2 GB do not suffice."""
    try:
        return measure(trial, python, Path(scan).resolve(), Path(template).resolve(), model, 2 * GB)
    except AssertionError as error:
        words = measure(trial, python, Path(scan).resolve(), Path(template).resolve(), model, 0)
        return f"{words} without a limit; with 2 GB: {error}"


def measure(trial: Any, python: Path, scan: Path, template: Path, model: str, limit: int) -> str:
    """Register under a limit of address space (bytes; 0: none); returns the peak of resident memory, in words."""
    with tempfile.TemporaryDirectory() as out:
        words = ["register", "--model", model, "--template", template, "--target", scan, "--out", out]
        command = [str(w) for w in (python, "-c", MEASURE, limit, *words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=trial.folder, env=_environment())
    peak = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("peak ")]
    assert done.returncode == 0 and peak, " / ".join(done.stderr.strip().splitlines()[-2:])[-300:]
    return f"peak {int(peak[0]) / GB:.2f} GB resident"


def plain_locale(trial: Any, python: Path) -> str:
    """LANG=C, and a result folder whose name is not ASCII."""
    environment = _environment(LANG="C", LC_ALL="C", PYTHONUTF8=None)
    with tempfile.TemporaryDirectory() as out:
        return _registered(
            trial, trial.register([python, "-m", "SlicRegLib"], Path(out) / "Bogenmaß 肝", env=environment)
        )


def no_home(trial: Any, python: Path) -> str:
    """HOME is not set, and then a folder that does not exist."""
    for home in (None, "/nonexistent"):
        environment = _environment(HOME=home, XDG_CACHE_HOME=None, XDG_CONFIG_HOME=None, MPLCONFIGDIR=None)
        dice = trial.register([python, "-m", "SlicRegLib"], trial.folder / "result", env=environment)
        words = _registered(trial, dice)
    return words


def no_temporary_folder(trial: Any, python: Path) -> str:
    """TMPDIR names a folder that does not exist."""
    environment = _environment(TMPDIR="/nonexistent")
    return _registered(trial, trial.register([python, "-m", "SlicRegLib"], trial.folder / "result", env=environment))


def odd_path(trial: Any, python: Path) -> str:
    """The library, the data and the results lie in folders with spaces, umlauts and CJK characters in their names."""
    place = trial.folder / "Meine Bilder ÄÖ 肝 (neu)"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(trial.data, place / "data", ignore=shutil.ignore_patterns("study", "training"))
    with zipfile.ZipFile(trial.wheel) as archive:
        archive.extractall(place / "library")
    environment = _environment(PYTHONPATH=str(place / "library"))
    return _registered(
        trial,
        trial.register([python, "-m", "SlicRegLib"], place / "result", place / "data", cwd=place, env=environment),
    )


def unpacked_wheel(trial: Any, python: Path) -> str:
    """The wheel is unpacked into a folder on the path, without an installation."""
    place = trial.folder / "unpacked"
    shutil.rmtree(place, ignore_errors=True)
    with zipfile.ZipFile(trial.wheel) as archive:
        archive.extractall(place)
    script = f"import SlicRegLib; assert SlicRegLib.__file__.startswith({str(place)!r})"
    subprocess.run([str(python), "-c", script], check=True, env=_environment(PYTHONPATH=str(place)))
    return _registered(
        trial,
        trial.register([python, "-m", "SlicRegLib"], trial.folder / "result", env=_environment(PYTHONPATH=str(place))),
    )


def _not_available(reason: str) -> Exception:
    return sys.modules["__main__"].NotAvailable(reason)  # type: ignore[attr-defined]


CIRCUMSTANCES = {
    "no network": no_network,
    "2 GB of memory": two_gigabytes,
    "LANG=C": plain_locale,
    "HOME unset or missing": no_home,
    "TMPDIR missing": no_temporary_folder,
    "paths with spaces and Unicode": odd_path,
    "wheel unpacked, not installed": unpacked_wheel,
    "read-only installation, other user": read_only_installation,
}
