"""The cost of a training: the trainings that were measured, and how it scales from them."""

from dataclasses import replace

import pytest

from SlicRegLib.cohort.cost import TrainingCost, estimate_cost
from SlicRegLib.errors import UserError
from SlicRegLib.network.options import PRESETS

MEASURED = 1_150_000
"""Voxels."""


def test_the_measured_trainings():
    """80 scans took 164 s with two processes; an iteration of 2 scans 2.9 s and 1.5 GB; one of 4 scans with the
    paper's network 24.3 s and 7.6 GB."""
    found = estimate_cost(80, MEASURED, "compact", 1600, 2, 2, cuda=False)
    assert found.teacher_hours * 3600 == pytest.approx(164) and found.training_hours * 60 == pytest.approx(
        1600 * 2.9 / 60
    )
    assert found.memory_gb == pytest.approx(2 * 1.0) and found.disk_gb == pytest.approx(0.08)
    assert estimate_cost(80, MEASURED, "compact", 1, 2, 1, cuda=False).memory_gb == pytest.approx(1.5)
    assert estimate_cost(80, MEASURED, "paper", 1, 4, 1, cuda=False).memory_gb == pytest.approx(7.6, abs=0.05)
    published = estimate_cost(80, MEASURED, "paper", 10, 4, 1, cuda=False)
    assert published.training_hours * 3600 == pytest.approx(243, rel=0.01)


def test_how_it_scales():
    double = estimate_cost(80, 2 * MEASURED, "compact", 800, 1, 8, cuda=False)
    assert double.teacher_hours * 3600 == pytest.approx(82)
    assert double.training_hours * 3600 == pytest.approx(800 * 2 * 1.45)
    assert double.memory_gb == pytest.approx(8 * 2 * 1.0) and double.disk_gb == pytest.approx(0.16)
    all_at_once = estimate_cost(80, MEASURED, "compact", 1, 1, 1000, cuda=False)
    assert all_at_once.teacher_hours * 3600 == pytest.approx(4.1) and all_at_once.memory_gb == pytest.approx(80)


def test_teachers_and_a_loss_at_all_voxels_have_their_own_costs():
    slow = estimate_cost(80, MEASURED, "paper", 1, 4, 2, cuda=False, teacher="convexadam", all_voxels=True)
    assert slow.teacher_hours * 60 == pytest.approx(11) and slow.memory_gb == pytest.approx(16.4, abs=0.15)


def test_in_words():
    known = TrainingCost(0.2, 12.34, 3.0, 0.08, "a guess")
    assert str(known) == (
        "about 12 min for the teacher and 12.3 h for the training, 3.0 GB of memory and 0.08 GB of disk (a guess)"
    )
    assert str(replace(known, teacher_hours=0.0)).startswith("about 1 min for the teacher")


def test_every_preset_is_known():
    cpu, gpu = {"paper": 6.1, "unet": 4.0, "compact": 1.45}, {"paper": 0.018, "unet": 0.03, "compact": 0.013}
    for cuda, known in ((False, cpu), (True, gpu)):
        costs = {preset: estimate_cost(6, MEASURED, preset, 3600, 1, 1, cuda) for preset in PRESETS}
        assert {preset: cost.training_hours for preset, cost in costs.items()} == pytest.approx(known)
    with pytest.raises(UserError, match=r"no preset huge; choose one of compact, unet, paper"):
        estimate_cost(6, MEASURED, "huge", 1, 1, 1, False)


@pytest.mark.parametrize(
    "preset, cuda, word", [("compact", True, "GPU"), ("unet", False, "estimated"), ("paper", False, "CPU")]
)
def test_the_note_says_how_reliable_the_figures_are(preset, cuda, word):
    assert word in estimate_cost(6, MEASURED, preset, 1, 1, 1, cuda).note
