"""The overview picture: what it shows where, and that the caller's matplotlib stays as it is."""

import matplotlib
import matplotlib.colors
import numpy as np
import pytest
from matplotlib import image

from SlicRegLib.geometry.field import identity_field
from SlicRegLib.images.volumes import Volume
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.registration.result import Registration
from SlicRegLib.registration.verdict import Verdict
from SlicRegLib.results.overview import COLOURS, VERDICT_COLOURS, draw_overview
from tiny import phantom


@pytest.fixture(scope="module")
def scans():
    """(template, its labels, target, its labels)."""
    return [volume for seed in (0, 1) for volume in phantom(seed)]


@pytest.fixture(scope="module")
def result(scans) -> Registration:
    return Registration(scans[0], scans[2], identity_field(scans[0].grid.pooled(4)), {}, True)


def draw(path, *arguments, **more) -> np.ndarray:
    """The picture (rows, columns, 3), from 0 to 1."""
    draw_overview(path, *arguments, spacing_mm=7.0, **more)
    return image.imread(path)[..., :3]


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """Its nine panels, row by row."""
    return [panel for row in np.array_split(picture, 3) for panel in np.array_split(row, 3, axis=1)]


def has_colour(picture: np.ndarray, colour: str) -> bool:
    return bool((np.abs(picture - matplotlib.colors.to_rgb(colour)).max(-1) < 0.08).any())


def test_nine_panels_show_the_scans(result, tmp_path):
    for panel in panels(draw(tmp_path / "overview.png", result)):
        assert np.allclose(panel[..., 0], panel[..., 2], atol=0.02)  # grey: there are no labels
        assert (panel > 0.3).mean() > 0.1 and panel.std() > 0.1  # not empty
    assert [path.name for path in tmp_path.iterdir()] == ["overview.png"]


def test_contours_have_their_labels_colours(result, scans, tmp_path):
    template_labels, target_labels = scans[1], scans[3]
    picture = draw(tmp_path / "overview.png", result, template_labels, target_labels)
    shown = [value for value in ORGANS if has_colour(picture, COLOURS[value - 1])]
    assert 6 in shown and len(shown) > 6  # the liver, and most other organs
    liver = Volume(np.where(template_labels.data == 6, template_labels.data, 0), template_labels.grid)
    alone = draw(tmp_path / "liver.png", result, liver)
    assert has_colour(alone, COLOURS[5]) and not has_colour(alone, COLOURS[6])
    for panel in panels(alone):  # on the target by the inverse field
        assert has_colour(panel, COLOURS[5])


def test_the_verdict_is_the_title_in_its_own_colour(result, tmp_path):
    """Long sentences are broken, so that nothing leaves the picture."""
    for word in ("doubtful", "failed"):
        colour = VERDICT_COLOURS[word]
        verdict = Verdict(word, "Look at what does not agree. " * 6, 0.1, 0.2, 0.5, 0.5, (), 0.0)
        picture = draw(tmp_path / f"{word}.png", result, verdict=verdict)
        seen = np.abs(picture - matplotlib.colors.to_rgb(colour)).max(-1) < 0.08
        rows, columns = np.nonzero(seen)
        assert rows.max() < len(picture) / 10 and np.ptp(rows) > 30  # two lines or more, above the panels
        assert columns.min() > 5 and columns.max() < picture.shape[1] - 5
        others = [other for other in VERDICT_COLOURS.values() if other != colour]
        assert not any(has_colour(picture, other) for other in others)


def test_the_callers_backend_stays(result, tmp_path, monkeypatch):
    """Also where it could not draw a picture: the overview does not use it."""
    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    draw(tmp_path / "overview.png", result)
    assert matplotlib.rcParams["backend"] == "svg"
