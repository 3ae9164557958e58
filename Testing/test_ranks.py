"""One training over two processes, started by torchrun as on a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FRAME, CentreTeacher, tiny_study, write_cohort

from SlicRegLib.errors import UserError
from SlicRegLib.registration.model import load_model
from SlicRegLib.teaching.create import create_study
from SlicRegLib.training.distributed import Processes

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(*arguments) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_two_processes_learn_what_one_learns(tmp_path):
    """The same samples in the same global batches: the same loss curve and weights, but for the order of sums."""
    study, script = tiny_study(tmp_path), Path(__file__).with_name("shared_training.py")
    results = []
    for name, command in (("alone", []), ("shared", TORCHRUN)):
        (tmp_path / name).mkdir()
        python(*command, script, study.folder, tmp_path / name)
        weights = torch.load(tmp_path / name / "weights")
        results.append(
            (
                json.loads((tmp_path / name / "curve.json").read_text()),
                torch.cat([w.flatten() for w in weights.values()]),
            )
        )
    (alone, one), (shared, two) = results
    assert [row[0] for row in alone] == [2, 4, 6, 8] and alone[-1][1] < alone[0][1] - 0.02  # it learns
    np.testing.assert_allclose(shared, alone, rtol=1e-4)
    assert (one - two).norm() < 1e-3 * one.norm()


def test_the_command_line_under_torchrun(tmp_path):
    cohort = write_cohort(tmp_path)
    study = create_study(cohort / "template.nii.gz", cohort / "img", tmp_path / "study", CentreTeacher(), 1, FRAME)
    out = tmp_path / "shared.slicreg"
    said = python(
        *TORCHRUN,
        "-m",
        "SlicRegLib",
        "train",
        "--study",
        study.folder,
        "--out",
        out,
        "--iterations",
        2,
        "--batch",
        2,
        "--device",
        "cpu",
    )
    assert said.count("written after") == 1  # one of them speaks
    assert load_model(out).provenance["training"]["iterations"] == 2
    assert not list(tmp_path.glob(".*"))


def test_a_batch_is_shared_without_a_rest():
    assert [list(Processes(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert Processes().share(5) == range(5) and Processes().first and not Processes(1, 2).first
    with pytest.raises(UserError, match="5 scans cannot be shared by 2"):
        Processes(0, 2).share(5)
