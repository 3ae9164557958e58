"""The training loop: the loss falls, a resumed run equals one that was never stopped, and other runs are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ramp import ramp_study
from SlicRegLib.errors import UserError
from SlicRegLib.training.loop import TrainingPlan, split, train
from SlicRegLib.training.objective import SupervoxelLoss
from SlicRegLib.training.options import TrainingOptions, training_preset
from tiny import NETWORK, same_weights, tiny_net, tiny_study

CPU = torch.device("cpu")
SHORT = TrainingOptions(
    iterations=6, batch=1, loss_voxels=200, validation_every=4, checkpoint_every=2, validation_scans=1
)
ONE = replace(SHORT, iterations=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.getbasetemp() / "tiny")


class Stop(Exception):
    """A power failure."""


def stop_after(iteration: int):
    def progress(stage, share, details=""):
        if details.startswith(f"iteration {iteration},"):
            raise Stop

    return progress


def test_the_loss_falls(study, tmp_path):
    options = replace(
        SHORT, iterations=45, validation_every=15, loss_voxels=1000, learning_rate=0.01, decay=False, precision="fp32"
    )
    net, history = train(TrainingPlan(study, NETWORK, options), tmp_path / "run.checkpoint", CPU)
    iterations, _, training, validation, accuracy = zip(*history.rows, strict=True)
    assert iterations == (15, 30, 45)
    assert training[0] > training[1] > training[2] and validation[0] > validation[2]
    assert validation[2] < np.log(128) - 1 and accuracy[2] > 5 / 128  # by chance: ln 128 and 1 / 128
    assert not net.training


def test_a_resumed_run_equals_an_uninterrupted_one(study, tmp_path):
    whole, history = train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "whole", CPU)
    with pytest.raises(Stop):  # after the checkpoint of iteration 2, before that of iteration 4
        train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "stopped", CPU, progress=stop_after(3))
    torch.rand(7)  # the state of the random generator in between must not matter
    resumed, resumed_history = train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, resumed)
    assert not same_weights(whole, tiny_net())
    rows, resumed_rows = ([(row[0], *row[2:]) for row in one.rows] for one in (history, resumed_history))
    assert rows == resumed_rows  # but for the seconds
    finished, _ = train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, finished)


def test_a_resumed_run_of_the_paper_equals_an_uninterrupted_one(tmp_path):
    """With dropout, batch norm and recomputed blocks."""
    study, _ = ramp_study(0)
    network = replace(NETWORK, kind="deeplab", layers=1)
    options = training_preset("paper", iterations=2, batch=1, checkpoint_every=1)
    whole, _ = train(TrainingPlan(study, network, options), tmp_path / "whole", CPU)
    with pytest.raises(Stop):
        train(TrainingPlan(study, network, options), tmp_path / "stopped", CPU, progress=stop_after(1))
    resumed, _ = train(TrainingPlan(study, network, options), tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, resumed)


def test_a_resumed_run_counts_the_time_of_the_earlier_one(study, tmp_path):
    with pytest.raises(Stop):
        train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "run", CPU, progress=stop_after(4))
    content = torch.load(tmp_path / "run", weights_only=True)
    torch.save(content | {"seconds": 1000.0, "waited": 900.0}, tmp_path / "run")
    _, history = train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "run", CPU, resume=True)
    assert 1000 < history.rows[-1][1] < 1100 and history.waiting_share == pytest.approx(0.9, abs=0.05)


def test_the_seed_decides(study, tmp_path):
    plans = [TrainingPlan(study, NETWORK, replace(ONE, seed=seed)) for seed in (0, 0, 1)]
    first, again, other = (train(plan, tmp_path / "run", CPU)[0] for plan in plans)
    assert same_weights(first, again) and not same_weights(first, other)


def test_a_training_starts_from_given_weights(study, tmp_path):
    options, start = replace(ONE, learning_rate=1e-12), tiny_net(5)
    net, _ = train(TrainingPlan(study, NETWORK, options, start=start), tmp_path / "run", CPU)
    moved = [(a - b).abs().max() for a, b in zip(net.parameters(), start.parameters(), strict=True)]
    assert max(moved) < 1e-6
    train(TrainingPlan(study, NETWORK, options, start=start), tmp_path / "run", CPU, resume=True)
    for other in (None, tiny_net(6)):
        with pytest.raises(UserError, match=r"other options; .* \(and --from\)"):
            train(TrainingPlan(study, NETWORK, options, start=other), tmp_path / "run", CPU, resume=True)


# ---- checkpoints ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(study, tmp_path_factory):
    """Of a finished run with the options `ONE`; not to be changed."""
    path = tmp_path_factory.mktemp("run") / "run.checkpoint"
    train(TrainingPlan(study, NETWORK, ONE), path, CPU)
    return path


def test_a_missing_checkpoint(study, tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint .*run.checkpoint"):
        train(TrainingPlan(study, NETWORK, ONE), tmp_path / "run.checkpoint", CPU, resume=True)


@pytest.mark.parametrize("changes", [{"options": SHORT}, {"network": replace(NETWORK, hidden=8)}], ids=str)
def test_the_checkpoint_of_other_options_is_refused(study, checkpoint, changes):
    arguments = {"network": NETWORK, "options": ONE, **changes}
    with pytest.raises(UserError, match=r"other options"):
        train(TrainingPlan(study, **arguments), checkpoint, CPU, resume=True)


def test_the_checkpoint_of_other_scans_is_refused(study, checkpoint):
    with pytest.raises(UserError, match=r"other scans; delete it"):
        train(TrainingPlan(replace(study, scans=study.scans[1:]), NETWORK, ONE), checkpoint, CPU, resume=True)


def test_the_checkpoint_of_another_version_is_refused(study, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"options": content["options"].replace("batch", "batch_size")}, tmp_path / "other")
    with pytest.raises(UserError, match=r"another version"):
        train(TrainingPlan(study, NETWORK, ONE), tmp_path / "other", CPU, resume=True)


@pytest.mark.parametrize("damage", ["half", "empty", "text", "of another program"])
def test_a_damaged_checkpoint_is_refused(study, checkpoint, tmp_path, damage):
    whole, path = checkpoint.read_bytes(), tmp_path / "run.checkpoint"
    if damage == "of another program":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"no checkpoint at all"}[damage])
    with pytest.raises(UserError, match=r"run.checkpoint is damaged; delete it"):
        train(TrainingPlan(study, NETWORK, ONE), path, CPU, resume=True)


# ---- the rest -------------------------------------------------------------------------------------------------


def test_a_diverging_training_ends_with_a_sentence(study, tmp_path, monkeypatch):
    monkeypatch.setattr(SupervoxelLoss, "forward", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(UserError, match=r"diverged at iteration 1; reduce the learning rate"):
        train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "run", CPU)


def test_validation_scans_are_spread_over_the_cohort():
    names = [f"pt_{i:02}" for i in range(20)]
    training, held = split(names, 4)
    assert held == ["pt_02", "pt_07", "pt_12", "pt_17"]
    assert sorted(training + held) == names
    assert (training, held) == split(names, 4)
    assert len(split(names, 100)[1]) == 4  # at most a fifth
    assert split(names[:4], 4) == (names[:4], [])
    assert split(names, 0) == (names, [])
