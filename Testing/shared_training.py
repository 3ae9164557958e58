"""A tiny training for ``torchrun``: python shared_training.py STUDY OUT writes the learning curve and the weights."""

import json
import sys
from pathlib import Path

import torch
from tiny import NETWORK

from SlicRegLib.teaching.study import open_study
from SlicRegLib.training.distributed import join_processes
from SlicRegLib.training.loop import train
from SlicRegLib.training.options import TrainingOptions

OPTIONS = TrainingOptions(
    iterations=8, batch=4, loss_voxels=200, validation_every=2, validation_scans=1, precision="fp32", learning_rate=0.01
)

if __name__ == "__main__":
    study, out = map(Path, sys.argv[1:])
    with join_processes(torch.device("cpu")) as (own, device):
        net, history = train(open_study(study), NETWORK, OPTIONS, out / "checkpoint", device, ranks=own)
        if own.first:
            torch.save(net.state_dict(), out / "weights")
            (out / "curve.json").write_text(
                json.dumps([[row[0], *row[2:4]] for row in history.rows])
            )  # without seconds
