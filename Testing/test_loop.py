"""The training loop: the loss falls, a resumed run equals one that was never stopped, and other runs are refused."""

import errno
import hashlib
import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from ramp import ramp_study
from SlicRegLib.errors import UserError
from SlicRegLib.training.checkpoint import TENSORS
from SlicRegLib.training.loop import TrainingPlan, split, train
from SlicRegLib.training.objective import SupervoxelLoss
from SlicRegLib.training.options import TrainingOptions, training_preset
from SlicRegLib.training.run import TrainingRun
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


def test_a_finished_run_is_trained_for_longer(study, tmp_path):
    """At a constant rate it becomes what a longer run would have become."""
    plans = [TrainingPlan(study, NETWORK, replace(SHORT, iterations=n, decay=False)) for n in (3, 5)]
    whole, history = train(plans[1], tmp_path / "whole", CPU)
    train(plans[0], tmp_path / "run", CPU)
    resumed, resumed_history = train(plans[1], tmp_path / "run", CPU, resume=True)
    assert same_weights(whole, resumed)
    assert [row[0] for row in history.rows] == [4, 5] and [row[0] for row in resumed_history.rows] == [3, 4, 5]
    with pytest.raises(UserError, match=r"is that of 5 iterations; resume with as many or more"):
        train(plans[0], tmp_path / "run", CPU, resume=True)


def test_a_resumed_run_counts_the_time_of_the_earlier_one(study, tmp_path):
    with pytest.raises(Stop):
        train(TrainingPlan(study, NETWORK, SHORT), tmp_path / "run", CPU, progress=stop_after(4))
    change_state(tmp_path / "run", seconds=1000.0, waited=900.0)
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


@pytest.mark.parametrize(
    "changes", [{"options": replace(SHORT, batch=2)}, {"network": replace(NETWORK, hidden=8)}], ids=str
)
def test_the_checkpoint_of_other_options_is_refused(study, checkpoint, changes):
    arguments = {"network": NETWORK, "options": ONE, **changes}
    with pytest.raises(UserError, match=r"other options"):
        train(TrainingPlan(study, **arguments), checkpoint, CPU, resume=True)


def test_a_longer_run_refuses_what_is_no_number(study, checkpoint, tmp_path):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(checkpoint.read_bytes())
    network, options = read_state(checkpoint)["options"]
    change_state(path, options=[network, {**options, "iterations": "1"}])
    with pytest.raises(UserError, match=r"is that of 1 iterations; resume"):
        train(TrainingPlan(study, NETWORK, SHORT), path, CPU, resume=True)


def test_the_checkpoint_of_other_scans_is_refused(study, checkpoint):
    with pytest.raises(UserError, match=r"other scans; delete it"):
        train(TrainingPlan(replace(study, scans=study.scans[1:]), NETWORK, ONE), checkpoint, CPU, resume=True)


def test_the_checkpoint_of_another_version_is_refused(study, checkpoint, tmp_path):
    """Of one with other options, of one with another format, and of one that used pickle."""
    path = tmp_path / "other"
    network, options = read_state(checkpoint)["options"]
    for changes in ({"options": [network, {**options, "batch_size": 2}]}, {"version": 3}, None):
        path.write_bytes(checkpoint.read_bytes())
        torch.save({"options": "[]"}, path) if changes is None else change_state(path, **changes)
        with pytest.raises(UserError, match=r"another version"):
            train(TrainingPlan(study, NETWORK, ONE), path, CPU, resume=True)


@pytest.mark.parametrize("damage", ["half", "empty", "text", "a flipped bit"])
def test_a_damaged_checkpoint_is_refused(study, checkpoint, tmp_path, damage):
    whole, path = checkpoint.read_bytes(), tmp_path / "run.checkpoint"
    flipped = whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
    cut = whole[: len(whole) // 2]
    path.write_bytes({"half": cut, "empty": b"", "text": b"no checkpoint at all", "a flipped bit": flipped}[damage])
    with pytest.raises(UserError, match=r"run.checkpoint is damaged; delete it"):
        train(TrainingPlan(study, NETWORK, ONE), path, CPU, resume=True)


def test_a_hostile_checkpoint_is_refused(study, checkpoint, tmp_path):
    """Its sums fit, but what is in it cannot be."""
    path = tmp_path / "run.checkpoint"
    infinite, small = torch.tensor(math.inf), torch.zeros(2)
    first = next(iter(load(read_parts(checkpoint)[1])))
    for facts, tensors in (
        ({"iteration": 0}, {}),
        ({"iteration": 10**9}, {}),
        ({"iteration": "1"}, {}),
        ({"seconds": -1.0}, {}),
        ({"scans": [1e400]}, {}),
        ({}, {"adam/0/exp_avg": small}),
        ({}, {"adam/99/step": infinite}),
        ({}, {"adam/0/step": infinite}),
        ({}, {"net/more": small}),
        ({}, {first: small}),
        ({}, {"random/cpu": small}),
        ({}, {"history": small}),
        ({}, {"losses": infinite}),
    ):
        path.write_bytes(checkpoint.read_bytes())
        change_state(path, tensors, **facts)
        with pytest.raises(UserError, match=r"run.checkpoint is damaged; delete it"):
            train(TrainingPlan(study, NETWORK, ONE), path, CPU, resume=True)


def test_a_checkpoint_holds_no_pickle(checkpoint):
    with zipfile.ZipFile(checkpoint) as archive:
        assert archive.namelist() == ["state.json", "tensors.safetensors"]
    state, tensors = read_state(checkpoint), load(read_parts(checkpoint)[1])
    assert state["iteration"] == 1 and tensors["history"].shape == (1, 5)
    assert {name.split("/")[0] for name in tensors} == {"net", "adam", "random", "losses", "history"}


def read_parts(path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def read_state(path) -> dict:
    return json.loads(read_parts(path)[0])


def change_state(path, tensors=None, **facts) -> None:
    """Write a checkpoint with other facts and tensors, and the sum that fits them."""
    state, packed = read_parts(path)
    packed = save({**load(packed), **(tensors or {})})
    with zipfile.ZipFile(path, "w") as archive:
        changed = {**json.loads(state), **facts, "sha256": hashlib.sha256(packed).hexdigest()}
        archive.writestr("state.json", json.dumps(changed))
        archive.writestr("tensors.safetensors", packed)


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


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(study, checkpoint, monkeypatch):
    whole = zipfile.ZipExtFile.read

    def fail(error):
        def read(part, *_):
            if getattr(part, "name", TENSORS) == TENSORS:
                raise error
            return whole(part, *_)

        return read

    for error, kind, words in [
        (OSError(errno.EIO, "Input/output error"), UserError, r"run.checkpoint cannot be read: the disk reports"),
        (MemoryError(), MemoryError, "^$"),
    ]:
        monkeypatch.setattr(zipfile.ZipExtFile, "read", fail(error))
        with pytest.raises(kind, match=words):
            train(TrainingPlan(study, NETWORK, ONE), checkpoint, CPU, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(TrainingRun, "load_state_dict", fail(RuntimeError("DefaultCPUAllocator: not enough memory")))
    with pytest.raises(RuntimeError, match="not enough memory"):
        train(TrainingPlan(study, NETWORK, ONE), checkpoint, CPU, resume=True)
