"""One training in two processes, started by torchrun as on a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_training import train_and_save
from SlicRegLib.errors import UserError
from SlicRegLib.registration.model import load_model
from SlicRegLib.teaching.create import StudyPlan, create_study
from SlicRegLib.training.distributed import Processes
from study_samples import FRAME, coarse_cohort
from tiny import CentreTeacher, tiny_study

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(*arguments) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def read_results(folder: Path) -> tuple[list, torch.Tensor]:
    weights = torch.load(folder / "weights")
    return json.loads((folder / "curve.json").read_text()), torch.cat([w.flatten() for w in weights.values()])


def test_two_processes_learn_what_one_learns(tmp_path, tmp_path_factory):
    """They share the same batches: loss curve and weights are equal but for the order of sums."""
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    train_and_save(study.folder, tmp_path / "alone")
    python(*TORCHRUN, Path(__file__).with_name("shared_training.py"), study.folder, tmp_path / "shared")
    (alone, one), (shared, two) = (read_results(tmp_path / name) for name in ("alone", "shared"))
    assert [row[0] for row in alone] == [2, 4, 6, 8] and alone[-1][1] < alone[0][1] - 0.02  # it learns
    np.testing.assert_allclose(shared, alone, rtol=1e-4)
    assert (one - two).norm() < 1e-3 * one.norm()


def test_the_command_line_under_torchrun(tmp_path, tmp_path_factory):
    cohort, out = coarse_cohort(tmp_path_factory.getbasetemp()), tmp_path / "shared.slicreg"
    images = [cohort / "img" / f"pt_{n}.nii.gz" for n in (1, 2)]
    plan = StudyPlan(
        template_path=cohort / "template.nii.gz",
        images=images,
        folder=tmp_path / "study",
        teacher=CentreTeacher(),
        preparation=FRAME,
    )
    study = create_study(plan)
    options = ["--study", study.folder, "--out", out, "--iterations", 2, "--batch", 2, "--device", "cpu"]
    printed = python(*TORCHRUN, "-m", "SlicRegLib", "train", *options)
    assert printed.count("written after") == 1  # by the first process alone
    assert load_model(out).provenance["training"]["iterations"] == 2
    assert not list(tmp_path.glob(".*"))


def test_a_batch_is_shared_evenly():
    assert [list(Processes(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert Processes().share(5) == range(5) and Processes().first and not Processes(1, 2).first
    with pytest.raises(UserError, match=r"5 scans cannot be shared evenly by 2"):
        Processes(0, 2).share(5)
