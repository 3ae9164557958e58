"""Options of the training: presets, changes, and one sentence for all problems."""

import re
from dataclasses import fields, replace

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.option import describe_options
from SlicRegLib.training.options import AugmentationOptions, ScheduleOptions, TrainingOptions, training_preset


def test_all_problems_are_listed_at_once():
    problems = dict(
        iterations=0,
        batch=0,
        learning_rate=2,
        loss_voxels=0,
        precision="fp8",
        validation_every=0,
        checkpoint_every=0,
        loaders=-1,
    )
    with pytest.raises(UserError) as error:
        TrainingOptions(**problems)
    for name in problems:
        assert f"{name.replace('_', ' ')} must" in str(error.value)
    assert "fp8" in str(error.value)


def test_the_preset_of_the_paper_is_the_published_schedule():
    paper = ScheduleOptions(preset="paper", loss_voxels=0).training()
    assert (paper.iterations, paper.batch, paper.learning_rate, paper.decay, paper.loss_voxels) == (
        3000,
        4,
        0.004,
        False,
        None,
    )
    assert paper.augmentation == AugmentationOptions(affine_noise=0.07, shift_noise=0.07)
    assert ScheduleOptions(preset="paper").training() == replace(paper, loss_voxels=2500)  # by default faster


def test_presets_can_be_changed():
    compact = training_preset("compact")
    assert training_preset("compact", iterations=7) == TrainingOptions(iterations=7, augmentation=compact.augmentation)
    assert compact.augmentation.rotation > 0 and compact.loss_voxels
    assert ScheduleOptions().training() == compact == training_preset("unet")
    assert ScheduleOptions(preset="paper", batch=8, seed=3).training() == training_preset("paper", batch=8, seed=3)


@pytest.mark.parametrize("name", [field.name for field in fields(ScheduleOptions) if field.default is None])
def test_defaults_in_the_descriptions_are_those_of_the_presets(name):
    number = r"([\d.]*\d)"
    found = re.search(rf"by default {number}(?: for paper, else {number})?\.", describe_options(ScheduleOptions)[name])
    assert found, "the description does not name the defaults"
    described = [float(found[1]), float(found[2] or found[1])]
    assert described == [getattr(training_preset(preset), name) for preset in ("paper", "compact")]
    assert getattr(training_preset("unet"), name) == described[1]
