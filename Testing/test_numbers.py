"""What must not change a result does not: orientation, file format, place in the world, noise, a second run.

The fast tests use a tiny, untrained model, whose results hang on small things; those of the bundled models, with
phantoms and with real scans, are marked slow. ``Testing/reliability/invariance.py`` measures a labelled cohort.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from moved_scans import ORIENTATIONS, add_noise, mirror, move_origin, reorient, shift_hu
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.label_maps import resample_labels
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.register import register
from SlicRegLib.registration.verdict import judge
from SlicRegLib.results.metrics import dice
from tiny import FRAME, phantom

FAR_MM = (5000.0, -3000.0, 2000.0)
SLICREG = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "SlicReg"


def mean_dice(fixed: Volume, moving: Volume, field) -> float:
    carried = resample_labels(moving.data, moving.grid, fixed.grid, field)
    values = sorted(set(np.unique(fixed.data)) & set(np.unique(moving.data)) - {0})
    return float(np.mean([dice(fixed.data == value, carried == value) for value in values]))


def movement(model, result) -> torch.Tensor:
    """How far each voxel of the template's body is taken, mm."""
    fixed = prepare_scan(result.template, model.preparation)
    return result.dense.at(fixed.grid.points()[fixed.body]).norm(dim=1)


@pytest.fixture(scope="module")
def fixed():
    return phantom(0)


@pytest.fixture(scope="module")
def moving():
    return phantom(1)


@pytest.fixture(scope="module")
def plain(model, fixed, moving):
    """The registration of two coarse phantoms."""
    return register(model, fixed[0], moving[0])


# ---- how a scan is stored ----------------------------------------------------------------------------------------


def test_the_orders_and_directions_of_axes_are_all_different(moving):
    scan = Volume(moving[0].data[:9, :8, :7], Grid((9, 8, 7), moving[0].grid.affine))
    grids = [reorient(scan, axes).grid for axes in ORIENTATIONS]
    assert len({(grid.shape, grid.affine.round(3).tobytes()) for grid in grids}) == 48


@pytest.mark.parametrize("turned", [False, True])
def test_the_prepared_scan_is_the_same_for_every_order_of_axes(turned, moving, oblique):
    """Bit by bit where the scan lies along the world's axes: the optimisers make millimetres of the last bits."""
    data, small = moving[0].data[16:40, 14:34, 20:42], PreparationOptions(spacing_mm=8.0, shape=(32, 32, 32))
    scan = Volume(data, oblique(data.shape, (5.0, 6.0, 7.0)) if turned else Grid.centred((3, 4, 5), data.shape, 7.0))
    expected = prepare_scan(scan, small)
    for axes in ORIENTATIONS[::5] if turned else ORIENTATIONS:
        prepared = prepare_scan(reorient(scan, axes), small)
        assert np.abs(prepared.grid.affine - expected.grid.affine).max() < (1e-4 if turned else 1e-9), axes
        assert (prepared.hu - expected.hu).abs().max() <= (0.1 if turned else 0), axes


def test_the_prepared_scan_is_the_same_wherever_it_lies(moving):
    """The patient's coordinates may be metres away from the origin."""
    here, there = (prepare_scan(scan, FRAME) for scan in (moving[0], move_origin(moving[0], FAR_MM)))
    assert np.abs(there.grid.affine[:3, 3] - here.grid.affine[:3, 3] - FAR_MM).max() < 1e-6
    assert torch.equal(there.hu, here.hu)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_the_scan_is_the_same_from_every_file_format(tmp_path, moving, suffix):
    scan = Volume(moving[0].data.round(), moving[0].grid)
    save_volume(tmp_path / f"scan{suffix}", scan)
    read = load_scan(tmp_path / f"scan{suffix}")
    prepared, expected = prepare_scan(read, FRAME), prepare_scan(scan, FRAME)
    assert read.fingerprint() == scan.fingerprint()
    assert np.abs(prepared.grid.affine - expected.grid.affine).max() < 1e-3  # NIfTI's matrix has single precision
    assert (prepared.hu - expected.hu).abs().max() < 0.5


# ---- results of a tiny model -------------------------------------------------------------------------------------


def test_a_scan_registered_to_itself_stays(model, fixed):
    moved = movement(model, register(model, fixed[0], fixed[0]))
    assert moved.mean() < 0.25 and moved.max() < 0.6  # mm; voxels are 8 mm


@pytest.mark.parametrize(
    "change", [lambda scan: shift_hu(scan, 20.0), lambda scan: move_origin(scan, FAR_MM)], ids=["20 HU", "far away"]
)
def test_dice_hardly_changes(model, fixed, moving, plain, change):
    again = register(model, fixed[0], change(moving[0]))
    labels = Volume(moving[1].data, again.target.grid)
    before, after = mean_dice(fixed[1], moving[1], plain.field), mean_dice(fixed[1], labels, again.field)
    assert before > 0.6 and abs(after - before) < 0.02  # the untrained network's features are noise


@pytest.mark.slow
def test_command_line_and_library_give_the_same_transform(model, fixed, moving, tmp_path):
    """Bit by bit, in two processes and in this one, with one thread each; Dice is the same as well."""
    save_model(tmp_path / "tiny.slicreg", model)
    names = ("fixed", "fixed_labels", "moving", "moving_labels")
    paths = [tmp_path / f"{name}.nrrd" for name in names]
    for path, volume in zip(paths, (*fixed, *moving), strict=True):
        save_volume(path, volume)
    words = ["register", "--model", tmp_path / "tiny.slicreg", "--template", paths[0], "--target", paths[2]]
    words += ["--template-label", paths[1], "--target-label", paths[3]]
    environment = {**os.environ, "PYTHONPATH": str(SLICREG), "OMP_NUM_THREADS": "1"}
    for out in ("first", "second"):
        command = [sys.executable, "-m", "SlicRegLib", *map(str, words), "--out", str(tmp_path / out)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    first, second = (load_transform(tmp_path / out / "transform.h5") for out in ("first", "second"))
    assert torch.equal(first.vectors, second.vectors)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = register(load_model(tmp_path / "tiny.slicreg"), load_scan(paths[0]), load_scan(paths[2]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first.vectors, here.field.vectors)
    report = json.loads((tmp_path / "first" / "report.json").read_text())
    assert report["after"]["mean_dice"] == pytest.approx(mean_dice(fixed[1], moving[1], here.field), abs=0.002)


# ---- the bundled models ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trunks():
    """The trunk model, and two of its phantoms with their organs."""
    pairs = []
    for seed in (0, 1001):
        subject = make_phantom(seed)
        grid = Grid(subject.image.shape, subject.affine)
        pairs.append((Volume(subject.image, grid), Volume(subject.labels, grid)))
    return load_model("trunk-phantom"), *pairs


@pytest.fixture(scope="module")
def heads(shared):
    """The head-and-neck model, its template and a patient, with their organs."""
    pairs = []
    for name in ("template/{}/pt_112.nii.gz", "val/{}/pt_187.nii.gz"):
        scan = load_scan(shared / "openkbp" / name.format("img"))
        pairs.append((scan, load_labels(shared / "openkbp" / name.format("label"), scan)))
    return load_model("headneck-openkbp"), *pairs


@pytest.fixture(scope="module", params=["trunks", "heads"])
def known(request):
    """(model, fixed, moving, their registration); each scan with its labels."""
    model, fixed, moving = request.getfixturevalue(request.param)
    return model, fixed, moving, register(model, fixed[0], moving[0])


CHANGES = {
    "20 HU": lambda volume: shift_hu(volume, 20.0),
    "noise": lambda volume: add_noise(volume, 10.0),  # 1 % of water's attenuation, as scanners state noise
    "axes": lambda volume: reorient(volume, "SAL"),
    "far away": lambda volume: move_origin(volume, FAR_MM),
}


@pytest.mark.slow
@pytest.mark.parametrize("which", [1, 2])
def test_a_scan_registered_to_itself_moves_less_than_half_a_millimetre(known, which):
    model, scan = known[0], known[which][0]
    moved = movement(model, register(model, scan, scan))
    assert moved.mean() < 0.15 and moved.max() < 0.5  # mm


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_dice_changes_by_less_than_a_hundredth(known, name):
    model, fixed, moving, plain = known
    again = register(model, fixed[0], CHANGES[name](moving[0]))
    labels = CHANGES[name](moving[1]) if name in ("axes", "far away") else moving[1]
    before, after = mean_dice(fixed[1], moving[1], plain.field), mean_dice(fixed[1], labels, again.field)
    assert before > 0.5 and abs(after - before) < 0.01


@pytest.mark.slow
def test_a_mirrored_patient_is_noticed(trunks):
    """Left for right, as a file whose matrix is wrong shows it: the liver lies on the wrong side."""
    model, fixed, moving = trunks
    assert judge(model, register(model, fixed[0], moving[0])).word == "good"
    assert judge(model, register(model, fixed[0], mirror(moving[0]))).word != "good"
