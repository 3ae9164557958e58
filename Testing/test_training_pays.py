"""What training is worth: by its supervoxels alone, an untrained network registers nothing, a half-trained one less
than a trained one. After the refinement the three are hardly told apart where a scan lies as the template does.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from SlicRegLib.network.networks import build
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import AugmentationOptions, TrainingOptions
from tiny import NETWORK, phantom, tiny_model, tiny_study

ITERATIONS = (0, 60, 300)


@pytest.mark.slow
def test_more_training_registers_better(tmp_path):
    study = tiny_study(tmp_path)
    network = replace(NETWORK, widths=(8, 16, 32), hidden=32)
    options = TrainingOptions(
        iterations=ITERATIONS[-1],
        learning_rate=0.004,
        loss_voxels=500,
        validation_scans=1,
        validation_every=60,
        augmentation=AugmentationOptions(rotation=28.0, scaling=0.16, shift_noise=0.1),
    )
    torch.manual_seed(0)
    nets = {0: build(network)}

    def keep(net, history):
        nets[history.rows[-1][0]] = copy.deepcopy(net)

    train(TrainingPlan(study, network, options), tmp_path / "run.checkpoint", torch.device("cpu"), watch=keep)
    template, template_labels = phantom(0)
    dice = []
    for iterations in ITERATIONS:
        model, found = tiny_model(study, net=nets[iterations].eval()), []
        for seed in (7, 8, 9):
            target, labels = phantom(seed)
            result = register(model, template, target, RegistrationOptions(refine=False))
            found.append(compare(result, template_labels, labels)["after"]["mean_dice"])
        dice.append(np.mean(found))
    assert dice[0] < 0.15 and dice[0] + 0.1 < dice[1] < dice[2] - 0.04
