"""Helpers of the command line's tests: running it, its output, tiny data to run it on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from SlicRegLib.cli.main import main
from SlicRegLib.network.options import PRESETS
from SlicRegLib.registration.model import save_model
from SlicRegLib.results import register_files
from SlicRegLib.results.overview import draw_overview
from SlicRegLib.teaching import create
from SlicRegLib.teaching.options import SupervoxelOptions
from tiny import FRAME, NETWORK, CentreTeacher, phantom, tiny_model, tiny_study, write_cohort

SHAPE = {"spacing": 8, "shape": FRAME.shape}
QUICK = {"key_points": 200, "iterations": 5, "refine": False}


def words(command: str, *positional, **options) -> list[str]:
    """The command line's words: ``out=x`` becomes --out x, ``from_`` --from, True a flag, False its negation."""
    result = [command, *map(str, positional)]
    for name, value in options.items():
        flag = name.rstrip("_").replace("_", "-")
        if isinstance(value, bool):
            result.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            result += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return result


def run(command: str, *positional, **options) -> int:
    """The command's exit code."""
    return main(words(command, *positional, **options))


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def is_one_sentence(capfd, part: str) -> bool:
    """Nothing on stdout; on stderr one line with this part and no traceback."""
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and len(lines) == 1 and lines[0].startswith("slicreg: "), captured.err
    return part in lines[0] and "Traceback" not in captured.err


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="module")
def study(cohort):
    return tiny_study(cohort)


@pytest.fixture(scope="module")
def model(study):
    path = study.folder.parent / "tiny.slicreg"
    save_model(path, tiny_model(study))
    return path


@pytest.fixture(scope="module")
def pair(cohort):
    """Template and target for a registration."""
    return {"template": cohort / "template.nii.gz", "target": cohort / "img" / "pt_1.nii.gz"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch)


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap teacher, two layers, a tiny network as the compact preset, coarse pictures and inverse fields; all in
    this process."""
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", True)
    monkeypatch.setattr(create, "make_teacher", lambda *_: CentreTeacher())
    layers = SupervoxelOptions(layers=NETWORK.layers)
    monkeypatch.setattr(create, "StudyPlan", partial(create.StudyPlan, supervoxels=layers))
    monkeypatch.setitem(PRESETS, "compact", NETWORK)
    monkeypatch.setattr(register_files, "draw_overview", partial(draw_overview, spacing_mm=8.0))
    monkeypatch.setattr("SlicRegLib.registration.result.INVERSE_SPACING_MM", 12.0)


def bad_image(kind: str, path: Path) -> Path:
    """A file that is wrong in this way (a key of `BAD`)."""
    scan = phantom(1)[0]
    data, affine = scan.data, scan.grid.affine.copy()
    match kind:
        case "missing":
            return path
        case "not an image":
            path.write_bytes(b"hello")
            return path
        case "2-D":
            data = data[:, :, 20]
        case "4-D":
            data = np.stack([data, data], -1)
        case "NaN":
            data = np.where(data > 300, np.nan, data)
        case "constant":
            data = np.zeros_like(data)
        case "few slices":
            data = data[:, :, :7]
        case "sheared":
            affine[0, 2] += 2
        case "no body":
            data = np.clip(data, -1000, -900)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


BAD = {
    "missing": "does not exist",
    "not an image": "cannot be read",
    "2-D": "2-D",
    "4-D": "4-D",
    "NaN": "NaN",
    "constant": "constant",
    "few slices": "fewer than 8 slices",
    "sheared": "sheared",
    "no body": "soft tissue",
}
"""What can be wrong with a scan, and a part of the sentence that tells it."""
