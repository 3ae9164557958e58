"""A tiny training for ``torchrun``: python shared_training.py STUDY OUT writes the learning curve and the weights."""

import json
import sys
from pathlib import Path

import torch

from SlicRegLib.teaching.study import open_study
from SlicRegLib.training.distributed import join_processes
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import TrainingOptions
from tiny import NETWORK

OPTIONS = TrainingOptions(
    iterations=8, batch=4, loss_voxels=200, validation_every=2, validation_scans=1, precision="fp32", learning_rate=0.01
)


def train_and_save(study: Path, out: Path) -> None:
    """Write OUT/weights and OUT/curve.json: [iteration, training loss, validation loss] of each validation."""
    out.mkdir(exist_ok=True)
    with join_processes(torch.device("cpu")) as (processes, device):
        plan = TrainingPlan(open_study(study), NETWORK, OPTIONS)
        net, history = train(plan, out / "checkpoint", device, processes=processes)
        if processes.first:
            torch.save(net.state_dict(), out / "weights")
            (out / "curve.json").write_text(json.dumps([[row[0], *row[2:4]] for row in history.rows]))


if __name__ == "__main__":
    train_and_save(*map(Path, sys.argv[1:]))
