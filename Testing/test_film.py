"""`slicreg film`: what its pictures show where, read back by other programs."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from command_line import run
from film_samples import ALL, GREYS, SHIFT
from SlicRegLib import MODELS
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.segmentations import SegmentAbout, save_segmentation
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.registration.own_template import read_own_template
from SlicRegLib.results import film as film_module
from SlicRegLib.results import film_surfaces, film_writing
from SlicRegLib.results.drawing import GROUND, WINDOW_HU
from SlicRegLib.results.film import Film
from SlicRegLib.results.film_page import Page
from SlicRegLib.results.film_result import ShownOrgan, read_result
from SlicRegLib.results.film_slices import (
    OPACITY,
    Row,
    draw_slice,
    draw_slices,
    find_flight,
    find_inside,
    find_slice,
    make_palette,
    make_rows,
    place_panels,
)
from SlicRegLib.results.film_template import find_template_labels
from SlicRegLib.results.options import FilmRequest
from SlicRegLib.results.overview import PLANES
from SlicRegLib.results.result_folder import OWN_TEMPLATE
from SlicRegLib.stages import READING, SLICES
from tiny import field_of, phantom

pytest_plugins = ["film_fixtures"]
pytestmark = pytest.mark.usefixtures("in_this_process")


def request_of(folder: Path, **changes) -> FilmRequest:
    return FilmRequest(**{"result": folder, "out": folder.parent / "film.mp4", "width": 640, **changes})


def at(volume: Volume, points: np.ndarray, fill: float) -> np.ndarray:
    """Linear values at world points (n, 3), by SciPy."""
    voxels = volume.grid.to_voxel(points).T
    return ndimage.map_coordinates(volume.data.astype(float), voxels, order=1, mode="constant", cval=fill)


def find_pixels(row, axis: int, index: int) -> np.ndarray:
    """World points (rows, columns, 3) of a panel's pixels: the patient's right on the left, front or head up."""
    first, second = (a for a in range(3) if a != axis)
    width, height = row.grid.shape[first], row.grid.shape[second]
    points = np.zeros((height, width, 3))
    columns = np.arange(width) if axis == 0 else np.arange(width)[::-1]
    points[..., axis], points[..., first], points[..., second] = index, columns[None], np.arange(height)[::-1, None]
    return row.grid.to_world(points)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_organs_lie_where_the_transform_says(made, share):
    """Frames at five places, against colours computed from the arrays point by point: inside of an organ, away from its
    border, its colour over the scan; before the registration the organs are shifted back, within the template's box."""
    request = request_of(made, label_names=made.parent / "names.csv", surface="none")
    result = read_result(request)
    page = Page(640, result.organs, result.verdict)
    rows, palette = make_rows(result, page), make_palette(result.organs)
    scan, labels = phantom(1)
    pictures = list(draw_slices(rows, page, "T", result.organs, 5))
    frame, low, high = np.asarray(pictures[round(4 * share)], float), *WINDOW_HU
    seen, compared = {0: set(), 1: set()}, 0
    for number, row in enumerate(rows):
        for (_, axis), (left, top, _) in zip(PLANES, place_panels(page, rows, number), strict=True):
            index = find_slice(find_flight(rows)[axis], axis, share)
            points = find_pixels(row, axis, index)
            height, width = points.shape[:2]
            panel = frame[top : top + height, left : left + width]
            grey = np.clip((at(scan, points.reshape(-1, 3), -1000.0) - low) / (high - low) * 255, 0, 255)
            grey = grey.reshape(height, width)
            moved = points.reshape(-1, 3) + (SHIFT.numpy() if number == 0 else 0)
            inside = np.ones(height * width, bool)
            if number == 0:
                voxels = Grid((*scan.grid.shape[:2], scan.grid.shape[2] // 2), scan.grid.affine).to_voxel(
                    points.reshape(-1, 3)
                )
                inside = ((voxels > 0) & (voxels < np.array([55, 47, 29]))).all(1)
            nothing = np.ones(height * width, bool)
            for organ in result.organs:
                part = at(Volume((labels.data == organ.value).astype(np.float32), labels.grid), moved, 0.0)
                nothing &= part < 0.02
                sure = ndimage.binary_erosion(((part > 0.9) & inside).reshape(height, width), iterations=2)
                if not sure.any():
                    continue
                expected = grey[sure][:, None] * (1 - OPACITY) + OPACITY * np.array(organ.colour, float)
                assert np.abs(panel[sure] - expected).max() < 12, (number, axis, organ)
                seen[number].add(organ.value)
            voxels = scan.grid.to_voxel(points)
            within = ((voxels > 0) & (voxels < np.array(scan.grid.shape) - 1)).all(-1)  # its edges are repeated
            bare = ndimage.binary_erosion(nothing.reshape(height, width), iterations=3) & within
            assert (np.abs(panel[bare] - grey[bare][:, None]) < 12).all()
            compared += int(bare.sum())
    assert compared > 20_000
    if share == 0.5:
        assert len(seen[1]) >= 3 and len(seen[0]) >= 1
    names = {organ.value: (organ.name, organ.colour) for organ in result.organs}
    assert names[1] == ("Milz", (200, 40, 10)) and names[6] == ("Leber", (10, 120, 240))
    assert names[2][0] == "Label 2" and palette.shape == (len(names) + 1, 3)


def read_mp4(path: Path) -> tuple[dict, np.ndarray]:
    """What ffmpeg tells of a film, and its pictures."""
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return about, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def test_a_film_in_mp4_read_by_ffmpeg(made, tmp_path, capfd):
    pytest.importorskip("vtkmodules")
    out = tmp_path / "film.mp4"
    assert run("film", made, out=out, width=320, seconds=0.8, label_names=made.parent / "names.csv") == 0
    assert "0.8 s, 12 pictures of 320 x 240" in capfd.readouterr().out and list(tmp_path.iterdir()) == [out]
    about, pictures = read_mp4(out)
    assert about["codec"] == "h264" and about["fps"] == 15 and about["duration"] == pytest.approx(0.8, abs=0.05)
    assert pictures.shape == (12, 240, 320, 3)
    request = request_of(made, out=out, width=320, seconds=0.8, label_names=made.parent / "names.csv")
    drawn = np.stack([np.asarray(picture) for picture in Film(request, read_result(request)).draw()])
    assert np.abs(pictures.astype(float) - drawn).mean() < 4 and len(np.unique(drawn.reshape(12, -1), axis=0)) == 12
    blue = np.abs(drawn[7:].astype(float) - drawn[7:].mean(-1, keepdims=True)).max(-1) > 60
    assert blue[:, 40:, :200].any((1, 2)).all()  # organs in the turning view, beside the legend


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_films_of_pillow(made, tmp_path, suffix):
    out = tmp_path / f"film{suffix}"
    assert run("film", made, out=out, **ALL, surface="none") == 0
    with Image.open(out) as film:
        assert film.n_frames == 5 and film.size == (320, 240) and film.info["loop"] == 0
        length = 0
        for number in range(5):
            film.seek(number)
            film.load()
            length += film.info["duration"]
        assert length == 500 and np.asarray(film.convert("RGB")).std() > 20


@pytest.mark.parametrize(("suffix", "bound"), [(".gif", 4), (".webp", 24)])
def test_organs_have_the_colours_of_the_legend_in_every_picture(made, tmp_path, suffix, bound):
    """The legend's boxes, and in .gif all that is drawn in an organ's own colour, against the pictures as drawn; what
    is mixed comes near."""
    request = request_of(made, out=tmp_path / f"film{suffix}", seconds=1.0, surface="none")
    film_module.make_film(request)
    film = Film(request, read_result(request))
    own = np.array([organ.colour for organ in film.page.organs])
    with Image.open(request.out) as written:
        for number, drawn in enumerate(np.asarray(picture, int) for picture in film.draw()):
            written.seek(number)
            off = np.abs(np.asarray(written.convert("RGB"), int) - drawn).max(-1)
            exact = (drawn[:, :, None] == own).all(-1)
            legend = ndimage.binary_erosion(exact.any(-1), iterations=2)
            assert legend[:, 500:].sum() > 10 * len(own) and off[legend].max() <= bound
            if suffix == ".gif":
                assert all(off[exact[..., n]].max() <= bound for n in range(len(own)))
                assert np.quantile(off, 0.999) < 32 and off.mean() < 2


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_each_picture_is_encoded_before_the_next_is_drawn(tmp_path, suffix):
    """So that progress is true and memory bounded."""
    drawn, most, told = [], 0, []

    def frames():
        nonlocal most
        for number in range(12):
            frame = Image.new("RGB", (64, 48), (20 * number, 0, 0))
            drawn.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in drawn))
            yield frame
            del frame
            told.append(number)

    film_writing.write_film(tmp_path / f"film{suffix}", frames(), 12, GREYS)
    assert most <= 4 and told == list(range(12))


def test_progress_is_told_from_reading_on(made, tmp_path):
    told = []
    request = request_of(made, out=tmp_path / "film.webp", **ALL, surface="none")
    film_module.make_film(request, lambda stage, share, details: told.append((stage, share)))
    reading = [share for stage, share in told if stage == READING]
    assert reading == sorted(reading) and len(reading) > 3 and reading[0] == 0 and reading[-1] == 1
    assert told[len(reading) :] == [(SLICES, number / 5) for number in range(1, 6)]


def test_before_are_the_templates_own_labels_where_they_are_there(result, tmp_path):
    """Also organs that were carried out of the scan; a file that was changed since is not shown."""
    request, (_, labels) = request_of(result), phantom(1)
    affine = labels.grid.affine.copy()
    affine[:3, 3] -= SHIFT.numpy()
    own = labels.data.copy()
    own[labels.grid.shape[0] // 2 :, :6, :6] = 40
    save_volume(tmp_path / "labels.nii.gz", Volume(own, Grid(labels.grid.shape, affine)))
    report = json.loads((result / "report.json").read_text())
    (result / "report.json").write_text(json.dumps({**report, "template_label": str(tmp_path / "labels.nii.gz")}))
    read = read_result(request)
    before, after = make_rows(read, Page(640, read.organs))
    number = [organ.value for organ in read.organs].index(40) + 1
    assert before.caption.endswith("at its own coordinates") and not (after.numbers == number).any()
    centre = np.array([0.75 * labels.grid.shape[0], 2.0, 2.0])
    place = before.grid.to_voxel(Grid(labels.grid.shape, affine).to_world(centre)).round().astype(int)
    assert before.numbers[tuple(place)] == number
    save_volume(tmp_path / "labels.nii.gz", Volume(own[::-1, ::-1, ::-1].copy(), Grid(labels.grid.shape, affine)))
    read = read_result(request)
    rows = make_rows(read, Page(640, read.organs))
    assert read.own is None and rows[0].caption.endswith("the carried organs, moved back to the template")


def test_the_labels_of_a_models_own_template():
    path = MODELS / "trunk-phantom.slicreg"
    own = read_own_template(path)
    labels = Volume(own.labels, Grid(own.labels.shape, own.labels_affine))
    field = field_of(labels.grid.pooled(8), torch.zeros_like)
    found = find_template_labels({"template": OWN_TEMPLATE, "model": str(path)}, Path("nowhere"), labels, field)
    assert found is not None and np.array_equal(found.data, own.labels)
    assert find_template_labels({"template": OWN_TEMPLATE, "model": "gone"}, Path("nowhere"), labels, field) is None


@pytest.mark.parametrize("width", [320, 480])
def test_texts_fit(made, width):
    """The verdict has as many lines as it needs; no panel covers the name of its plane; a name is one line."""
    sentence = "Both scans show the same anatomy, but some places agree less than they usually do. " * 2
    organs = [ShownOrgan(1, "left\nkidney", (200, 40, 10))]
    page = Page(width, organs, ("doubtful", sentence))
    shown = read_result(request_of(made))
    rows = make_rows(shown, page)
    picture = np.asarray(next(draw_slices(rows, page, "T", shown.organs, 2)), int)
    written = np.abs(picture - np.array(GROUND)).max(-1) > 12
    assert page._verdict_lines[-1].endswith("usually do.") and len(page._verdict_lines) > 1
    assert " ".join(page._verdict_lines) == " ".join(f"Verdict: DOUBTFUL. {sentence}".split())
    below = page.size[1] - page.gap - page.text_height * len(page._verdict_lines)
    assert page.body.top + page.body.height <= below and not written[:, page.size[0] - page.gap // 2 :].any()
    high = page.font(13).getbbox("coronalpg")[3]
    for number in range(2):
        tops = [top for _, top, _ in place_panels(page, rows, number)]
        assert min(tops) - (number * (page.body.height // 2) + page.body.top + page.text_height) >= high
    assert page.fit(organs[0].name, 13, 999) == "left kidney"


def test_organs_turn_where_they_are(made):
    """From the front the organ of the patient's right lies on the left, from the back on the right."""
    pytest.importorskip("vtkmodules")
    numbers = np.zeros((30, 20, 30), np.uint16)
    numbers[22:28, 8:12, 12:18] = 1  # right
    shell = np.zeros(numbers.shape, np.uint8)
    shell[2:5, 5:15, 2:28] = 255
    scene = film_surfaces.Scene("k", "bones", shell, numbers, 5.0, ((255, 0, 0),), (120, 120))
    front, back = film_surfaces.draw_views(film_surfaces.Views(scene, (0.0, 180.0)))
    for picture, on_left in ((front, True), (back, False)):
        red = np.argwhere((picture[..., 0] > 100) & (picture[..., 1] < 60))
        bone = np.argwhere(picture.min(-1) > 50)
        assert len(red) > 50 and len(bone) > 50 and (red[:, 1].mean() < bone[:, 1].mean()) == on_left
        assert (picture[0, 0] == film_surfaces.GROUND).all()


def test_without_vtk_it_says_so(made, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(film_module, "is_vtk_here", lambda: False)
    assert run("film", made, out=tmp_path / "a.gif", **ALL) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [film_module.NO_VTK]


def test_where_vtk_cannot_draw_it_says_so(made, tmp_path, monkeypatch, capfd):
    pytest.importorskip("vtkmodules")

    def fail(views):
        raise RuntimeError("no screen")

    monkeypatch.setattr("SlicRegLib.results.film_turning.draw_views", fail)
    assert run("film", made, out=tmp_path / "a.gif", **ALL) == 0
    assert "shows only the slices" in capfd.readouterr().out.splitlines()[1]
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 5


def test_a_result_without_segmentation(result, tmp_path, capfd):
    (result / "warped_labels.nii.gz").unlink()
    out = tmp_path / "film.gif"
    assert run("film", result, out=out, **ALL, surface="none") == 0
    assert film_module.NO_ORGANS in capfd.readouterr().out
    with Image.open(out) as film:
        picture = np.asarray(film.convert("RGB"), int)
    assert np.abs(picture[60:220] - picture[60:220].mean(-1, keepdims=True)).max() < 8  # grey
    shutil.copy(json.loads((result / "report.json").read_text())["target"], tmp_path / "copy.nii.gz")
    assert run("film", result, out=out, **ALL, surface="none", target=tmp_path / "copy.nii.gz") == 0


def test_an_empty_segmentation_is_called_empty(result, tmp_path, capfd):
    save_volume(result / "warped_labels.nii.gz", Volume(phantom(1)[1].data * 0, phantom(1)[1].grid))
    assert run("film", result, out=tmp_path / "film.gif", **ALL, surface="none") == 0
    assert film_module.EMPTY in capfd.readouterr().out


def test_names_of_a_segmentation_and_of_the_report(result):
    assert {o.value: o.name for o in read_result(request_of(result)).organs}[6] == "liver"
    labels = phantom(1)[1]
    (result / "warped_labels.nii.gz").unlink()
    save_segmentation(result / "labels.seg.nrrd", labels, {6: SegmentAbout("Hepar", (1, 2, 3))})
    organ = {o.value: o for o in read_result(request_of(result)).organs}[6]
    assert (organ.name, organ.colour) == ("Hepar", (1, 2, 3))


def test_the_box_of_another_grid():
    grid = Grid((8, 6, 5), np.diag([2.0, 2.0, 2.0, 1.0]))
    box = Grid((2, 2, 2), np.array([[0, -4.0, 0, 7], [4, 0, 0, 2], [0, 0, 4, 2], [0, 0, 0, 1]]))
    expected = np.zeros(grid.shape, bool)
    voxels = box.to_voxel(grid.points().double().numpy())
    expected[((voxels >= -0.5) & (voxels <= 1.5)).all(-1)] = True
    assert (find_inside(box, grid) == expected).all() and 0 < expected.sum() < expected.size


def test_an_organ_of_one_pixel_is_seen():
    numbers = np.zeros((5, 5, 5), np.uint16)
    numbers[2, 2, 2] = 1
    row = Row("", Grid((5, 5, 5), np.eye(4)), np.zeros((5, 5, 5), np.uint8), numbers)
    panel = draw_slice(row, 2, 2, np.array([[0, 0, 0], [10, 20, 30]], np.float32))
    assert panel[2, 2].tolist() == [10, 20, 30]
