"""The learning curve as a table and as a picture."""

import csv
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from SlicRegLib.training.history import History

ROWS = [(10, 1.5, 4.8, 4.9, 0.01), (20, 3.0, 4.1, 4.3, 0.05)]


def draw(path, rows) -> np.ndarray:
    History(rows).save(path)
    return imread(f"{path}.png")


def test_table_and_picture(tmp_path):
    picture = draw(tmp_path / "model.v2_curve", ROWS)
    with open(tmp_path / "model.v2_curve.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy"]
    assert [[float(x) for x in row] for row in rows] == [list(row) for row in ROWS]
    assert picture.shape[:2] == (440, 770) and (picture[..., :3].std(-1) > 0.1).any()  # coloured lines
    assert len(list(tmp_path.iterdir())) == 2


def test_the_picture_shows_both_losses(tmp_path):
    picture = draw(tmp_path / "a", ROWS)
    for column in (2, 3):
        other = [list(row) for row in ROWS]
        other[0][column] += 0.1
        assert not np.array_equal(draw(tmp_path / "b", other), picture)


def test_the_backend_of_the_user_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "use", lambda *_: pytest.fail("switched the backend"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would choose one
    draw(tmp_path / "a", ROWS)
