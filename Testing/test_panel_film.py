"""The button "Save a film...": what it writes for the command, progress, cancelling, packages that are missing."""

import csv
import json
import time

import numpy as np
import pytest

from host import available
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.images.volumes import load_labels, load_scan

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer
    from PIL import Image

    from host.dialogs import dialogs
    from panel_samples import ABDOMEN, HOST, fresh_panel, load_coarse_pair
    from SlicRegLib.phantoms.phantom import make_phantom
    from SlicRegSlicer import film_button, sample
    from SlicRegSlicer.film_folder import write_film_folder
    from SlicRegSlicer.reading import Image as Voxels
    from SlicRegSlicer.reading import fill_transform
    from SlicRegSlicer.request import Outputs
    from SlicRegSlicer.review import Review

SHIFT = np.array([7.0, -14.0, 7.0])


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        dialogs.clear()
        yield panel


@pytest.fixture
def review(panel):
    """A result whose transform is a shift, shown by the panel; its carried segments are the target's own."""
    template, _, target, segments = load_coarse_pair()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "T")
    affine = np.diag([50.0, 50.0, 50.0, 1.0])
    affine[:3, 3] = -300.0
    fill_transform(transform, Voxels(np.broadcast_to(SHIFT, (13, 13, 13, 3)).copy(), affine), template, target)
    report = {"verdict": {"word": "good", "sentence": "All is well.", "least_sure": []}}
    outputs = Outputs(transform, None, template, None, None, segments, report, template)
    review = Review(template, target, outputs)
    panel.registration.views.review = review
    panel.registration.views._enable(True)
    yield review
    panel.registration.views.review = None


def test_the_folder_holds_the_result_as_it_is_in_the_scene(review, tmp_path):
    words = write_film_folder(review, tmp_path)
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["film", str(tmp_path)] and set(options) == {"--target", "--label-names"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"]["word"] == "good" and report["target"] == options["--target"]
    scan = load_scan(options["--target"])
    voxels = slicer.util.arrayFromVolume(review.target).T
    assert np.array_equal(scan.data, voxels)
    labels = load_labels(tmp_path / "labels.nrrd", scan)
    segmentation = review.outputs.warpedSegmentation.GetSegmentation()
    with open(options["--label-names"], newline="", encoding="utf-8") as file:
        names = {int(row["value"]): row["name"] for row in csv.DictReader(file)}
    expected = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert list(names.values()) == expected and set(np.unique(labels.data)) - {0} <= set(names)
    field = load_transform(tmp_path / "transform.nrrd")
    np.testing.assert_allclose(field.vectors[:, 6, 6, 6], SHIFT, atol=0.01)


def test_a_film_by_clicks(panel, review, tmp_path, monkeypatch):
    """Slicer stays usable; progress is told; the film is there, and nothing else."""
    ui = panel.ui
    assert ui.filmButton.enabled and ui.filmButton.text == "Save a film..."
    dialogs.choose_path("")
    HOST.click(ui.filmButton)
    assert panel.registration.film.process is None  # nothing was chosen
    out, short = tmp_path / "film.gif", ["--seconds", "4", "--surface", "none"]
    monkeypatch.setattr(film_button, "write_film_folder", lambda *given: [*write_film_folder(*given), *short])
    dialogs.choose_path(out)
    began = time.monotonic()
    HOST.click(ui.filmButton)
    assert time.monotonic() - began < 3 and ui.filmButton.text == "Cancel the film" and ui.filmButton.enabled
    seen, folder = set(), panel.registration.film._folder

    def ended():
        seen.add(ui.filmLabel.text)
        return not panel.registration.film.isRunning() and ui.filmButton.text == "Save a film..."

    HOST.wait(ended, 120)
    assert ui.filmLabel.text.startswith(f"Film saved: {out}"), panel.registration.film.process.log
    assert any("Drawing the slices: " in text for text in seen) and any("s left" in text for text in seen)
    assert list(tmp_path.iterdir()) == [out] and not folder.exists()
    with Image.open(out) as film:
        assert film.n_frames == 40 and film.size == (640, 480)


def test_an_added_suffix_replaces_no_film_unasked(panel, review, tmp_path):
    """Qt asks about the name as it was typed."""
    (tmp_path / "film.mp4").write_bytes(b"the last one")
    for answer in (False, True):
        dialogs.choose_path(tmp_path / "film")
        dialogs.answer(answer)
        HOST.click(panel.ui.filmButton)
        assert dialogs.texts("question")[-1] == f"{tmp_path / 'film.mp4'} exists. Replace it?"
        assert panel.registration.film.isRunning() == answer
        assert (tmp_path / "film.mp4").read_bytes() == b"the last one"
    panel.registration.film.close()


def test_the_templates_own_segments_go_with_it(panel, review, tmp_path):
    template_segments = load_coarse_pair()[1]
    review.template_segmentation = template_segments
    write_film_folder(review, tmp_path)
    path = json.loads((tmp_path / "report.json").read_text())["template_label"]
    expected = make_phantom(sample.TEMPLATE_SEED, ABDOMEN).labels
    assert np.array_equal(load_labels(path).data, expected)


def test_cancelling_leaves_nothing(panel, review, tmp_path):
    dialogs.choose_path(tmp_path / "film")  # .mp4 is added
    HOST.click(panel.ui.filmButton)
    film = panel.registration.film
    assert film.isRunning() and film._out == tmp_path / "film.mp4"
    HOST.click(panel.ui.filmButton)
    assert film.process.state == "cancelled" and not film._folder.exists() and list(tmp_path.iterdir()) == []
    assert "cancelled" in panel.ui.filmLabel.text and panel.ui.filmButton.text == "Save a film..."


def test_a_missing_encoder_is_offered(panel, review, tmp_path, monkeypatch):
    installed = []
    monkeypatch.setattr(film_button, "is_found", lambda name: bool(installed))
    monkeypatch.setattr(film_button, "install_packages", installed.extend)
    for answer in (False, True):
        dialogs.choose_path(tmp_path / "film.mp4")
        dialogs.answer(answer)
        HOST.click(panel.ui.filmButton)
        assert "imageio-ffmpeg" in dialogs.texts("question")[-1]
        assert panel.registration.film.isRunning() == answer and bool(installed) == answer
    assert installed == ["imageio-ffmpeg>=0.6"]
    panel.registration.film.close()


def test_mistakes_are_one_sentence(panel, review, tmp_path):
    for path, words in (
        (tmp_path / "no" / "film.gif", "does not exist"),
        (tmp_path / "film.avi", "choose one of them"),
    ):
        dialogs.clear()
        dialogs.choose_path(path)
        HOST.click(panel.ui.filmButton)
        HOST.wait(lambda: not panel.registration.film.isRunning(), 60)
        HOST.wait(lambda: dialogs.texts("error"), 10)
        (text,) = dialogs.texts("error")
        assert words in text and list(tmp_path.iterdir()) == []


def test_without_a_result_there_is_no_film(panel):
    assert not panel.ui.filmButton.enabled
