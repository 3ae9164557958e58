"""The adapters of other tools: the frame of each, and the versions that figures belong to.

Adapters of tools that are not installed are skipped.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.itk import LPS
from SlicRegLib.images.volumes import Volume, to_itk
from tiny import phantom

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import peer_tools

SHIFT = torch.tensor([9.0, -15.0, 5.0])  # mm, RAS: another length and sign along each axis


def test_an_itk_displacement_image_becomes_the_same_field(odd_grid):
    """Known answer by ITK itself: where its transform takes a voxel's centre, in LPS."""
    lps = np.random.default_rng(0).normal(0, 5, (*odd_grid.shape[::-1], 3))
    image = sitk.GetImageFromArray(lps, isVector=True)
    image.CopyInformation(to_itk(Volume(np.zeros(odd_grid.shape, np.float32), odd_grid)))
    field = peer_tools.field_from_itk(lps, odd_grid)
    np.testing.assert_allclose(field.vectors[:, 1, 2, 3], lps[3, 2, 1] * (-1, -1, 1), atol=1e-5)
    transform = sitk.DisplacementFieldTransform(image)
    points = odd_grid.to_world(np.array([[1.0, 2, 3], [4, 4, 4], [5.5, 3, 2.5]]))
    known = [transform.TransformPoint((LPS[:3, :3] @ point).tolist()) for point in points]
    np.testing.assert_allclose(field(torch.tensor(points)).numpy() @ LPS[:3, :3], known, atol=1e-3)


def move(scan: Volume) -> Volume:
    """The scan's content moved by SHIFT, on a grid that lies elsewhere."""
    grid = Grid.centred(scan.grid.centre + (4, 3, -6), scan.grid.shape, scan.grid.spacing)
    back = DisplacementField(-SHIFT.view(3, 1, 1, 1).expand(3, 2, 2, 2), Grid((2, 2, 2), np.eye(4)))
    return Volume(resample(scan.tensor, scan.grid, grid, back, fill=-1000.0)[0].numpy(), grid)


ADAPTERS = {  # the module that it needs, the adapter; two stages of elastix stand for any
    "affine": ("SimpleITK", peer_tools.simpleitk_affine),
    "elastix": ("itk", partial(peer_tools.elastix, stages=("translation", "affine"))),
    "ants": ("ants", peer_tools.ants_syn),
    "convexadam": ("convexAdam", peer_tools.convexadam),
    "refinement": ("torch", peer_tools.refinement_alone),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters_recover_a_translation(name):
    module, adapter = ADAPTERS[name]
    pytest.importorskip(module)
    scan, _ = phantom(3)
    peer_tools.clock.seconds.clear()
    field = adapter(scan, move(scan), torch.get_num_threads())
    found = field.at(scan.grid.points())[torch.from_numpy(scan.data > -300)]
    np.testing.assert_allclose(found.median(0).values, SHIFT, atol=2.5)
    assert peer_tools.clock.seconds["refinement" if name == "refinement" else "registration"] > 0


LINEAR = """import os, pathlib, sys
assert os.environ["OMP_NUM_THREADS"] == "3"
pathlib.Path(sys.argv[sys.argv.index("-O") + 1] + "_matrix.txt").write_text("1 0 0 0\\n0 1 0 0\\n0 0 1 0\\n1 2 3 1\\n")
"""
DEEDS = """import array, sys
assert sys.argv[-2:] == ["-G", "2x1"] and sys.argv[-4] == "-A"
array.array("f", [0.0] * (3 * 4 * 6 * 8)).tofile(open(sys.argv[sys.argv.index("-O") + 1] + "_displacements.dat", "wb"))
"""


@pytest.mark.parametrize("deeds_program", [DEEDS, "import sys; sys.exit('no')"])
def test_deeds(tmp_path, deeds_program):
    for name, body in (("linearBCV", LINEAR), ("deedsBCV", deeds_program)):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{body}")
        (tmp_path / name).chmod(0o755)
    grids = Grid((12, 18, 24), np.diag([2.0, 3, 4, 1])), Grid((12, 18, 24), np.diag([-2.0, 3, 4, 1]))
    scans = [Volume(np.zeros(grid.shape, np.float32), grid) for grid in grids]
    adapter = partial(peer_tools.deeds, folder=tmp_path, arguments=("-G", "2x1"))
    if deeds_program is not DEEDS:
        with pytest.raises(RuntimeError, match="deedsBCV ended with exit code 1: no"):
            adapter(*scans, 3)
    else:  # voxel (3, 6, 9), at (6, 18, 36) mm, goes to voxel (4, 8, 12), at (-8, 24, 48)
        np.testing.assert_allclose(adapter(*scans, 3).at(torch.tensor([6.0, 18, 36])), (-14, 6, 12), atol=1e-3)


def test_rows_of_this_project_follow_the_code_and_the_model(tmp_path):
    model = tmp_path / "m.slicreg"
    model.write_bytes(b"one")
    before = peer_tools.list_tools([model], tmp_path)
    assert tuple(key.partition(":")[0] for key in before) == peer_tools.ORDER
    assert before["deeds"].version is None  # no programs there
    model.write_bytes(b"two")
    after = peer_tools.list_tools([model], None)
    assert {key for key in after if after[key].version != before[key].version} == {
        "slicreg:m",
        "slicreg-no-refinement:m",
    }
