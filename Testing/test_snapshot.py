"""The picture after each validation: it shows the current network at work and never ends the training."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.jobs import snapshot
from SlicRegLib.jobs.recorder import Recorder
from SlicRegLib.jobs.snapshot import ValidationSnapshot
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.overview import draw_overview
from SlicRegLib.stages import LEARN
from tiny import phantom, same_weights, tiny_net, tiny_study


@pytest.fixture
def take(tmp_path, tmp_path_factory):
    """Takes a snapshot of a network; the files are written to tmp_path."""
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    return ValidationSnapshot(tmp_path, study, "pt_2", torch.device("cpu"), Recorder(tmp_path, LEARN))


def test_the_network_is_left_as_it_is(take, tmp_path):
    net = tiny_net().train()
    take(net)
    picture = imread(tmp_path / "validation.png")[..., :3]
    assert picture.std() > 0.1 and (picture > 0.3).mean() > 0.05
    assert net.training and same_weights(net, tiny_net())
    assert not (tmp_path / "job.log").exists()


def test_a_failure_is_logged(take, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(snapshot, "register", fail)
    take(tiny_net())
    assert not (tmp_path / "validation.png").exists()
    assert (tmp_path / "job.log").read_text().endswith("no picture of the validation: RuntimeError: out of memory\n")


def split_columns(path) -> list[np.ndarray]:
    """The three columns of an overview, without the titles: template, target, target on template."""
    picture = imread(path)[..., :3]
    assert picture.shape[1] == 1080 and picture.std() > 0.1
    return np.split(picture[60:], 3, axis=1)


def test_the_picture_shows_the_target_through_the_field(tmp_path):
    """Of a scan on itself, the identity makes the first and the third column equal; a shift of 40 mm does not."""
    volume = phantom(0)[0]
    identity = identity_field(volume.grid)
    shift = DisplacementField(torch.full_like(identity.vectors, 40.0), identity.grid)
    differences = []
    for field in (identity, shift):
        draw_overview(tmp_path / "validation.png", Registration(volume, volume, field, {}, True))
        first, _, third = split_columns(tmp_path / "validation.png")
        differences.append((np.abs(first - third) > 0.02).mean())
    assert differences[0] < 0.02 and differences[1] > 0.1
