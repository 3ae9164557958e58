"""The deeds import against files written by hand from their meaning on paper, and the programs against stand-ins."""

import os
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.teaching.deeds import DeedsTeacher, read_deeds

# the template has another place and spacing, and runs along i to the Left
SCAN = Grid((12, 18, 24), np.array([[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]]))
TEMPLATE = Grid((14, 16, 20), np.array([[-1, 0, 0, 50], [0, 2, 0, -20], [0, 0, 5, 0], [0, 0, 0, 1.0]]))


def write_displacements(prefix, along_i, along_j, along_k):
    """Three (I, J, K) arrays of control points as deeds writes them: blocks j, i, k; i runs fastest."""
    blocks = [np.asarray(d, np.float32).flatten(order="F") for d in (along_j, along_i, along_k)]
    np.concatenate(blocks).tofile(f"{prefix}_displacements.dat")


def constants(shape, *values):
    return [np.full(shape, v) for v in values]


def moved_voxels(field, template):
    """Where the field's own grid points land in the template, in its voxels, (I, J, K, 3)."""
    return template.to_voxel(field(field.grid.points()).numpy())


def test_constants_along_each_axis(tmp_path):
    write_displacements(tmp_path / "s", *constants((4, 6, 8), 1, 2, 3))
    field = read_deeds(tmp_path / "s", SCAN, SCAN)
    assert field.grid.shape == (4, 6, 8)
    np.testing.assert_allclose(field.vectors.movedim(0, -1)[2, 3, 4], (1 * 2, 2 * 3, 3 * 4), atol=1e-4)
    assert (field.vectors - field.vectors[:, :1, :1, :1]).abs().max() < 1e-4


def test_control_points_lie_at_multiples_of_the_spacing(tmp_path):
    write_displacements(tmp_path / "s", *constants((4, 6, 8), 0, 0, 0))
    field = read_deeds(tmp_path / "s", SCAN, SCAN)  # 12 x 18 x 24 voxels in steps of 3: the first lies on voxel 0
    np.testing.assert_allclose(SCAN.to_voxel(field.grid.points().numpy())[1, 2, 3], (3, 6, 9), atol=1e-4)
    np.testing.assert_allclose(field.grid.to_world(np.zeros(3)), (10, 20, 30))


@pytest.mark.parametrize("axis", range(3))
def test_a_ramp_says_where_control_points_lie_and_along_which_axis(tmp_path, axis):
    shape = (4, 6, 8)
    steps = np.moveaxis(
        np.broadcast_to(np.arange(shape[axis]), [shape[a] for a in range(3) if a != axis] + [shape[axis]]), -1, axis
    )
    ramps = constants(shape, 0, 0, 0)
    ramps[axis] = 0.5 * steps  # voxels, control point by control point
    write_displacements(tmp_path / "s", *ramps)
    field = read_deeds(tmp_path / "s", SCAN, SCAN)
    voxel = np.array([4.0, 7, 8])  # between control points: displaced by 0.5 * voxel / 3 along the axis
    point = SCAN.to_world(voxel)
    known = np.zeros(3)
    known[axis] = 0.5 * voxel[axis] / 3 * SCAN.spacing[axis]
    np.testing.assert_allclose(field.at(torch.tensor(point)).numpy(), known, atol=1e-4)


def test_matrix_holds_rows_in_columns_and_the_translation_in_the_last_row(tmp_path):
    write_displacements(tmp_path / "s", *constants((4, 6, 8), 0, 0, 0))
    # template i = 0.5 i + 3, j = 0.8 j + 0.1 k - 2, k = k + 1
    (tmp_path / "s_matrix.txt").write_text("0.5 0 0 0\n0 0.8 0 0\n0 0.1 1 0\n3 -2 1 1\n")
    field = read_deeds(tmp_path / "s", SCAN, TEMPLATE)
    i, j, k = 2 * 3, 3 * 3, 5 * 3  # control point (2, 3, 5)
    known = np.array([0.5 * i + 3, 0.8 * j + 0.1 * k - 2, k + 1])
    np.testing.assert_allclose(moved_voxels(field, TEMPLATE)[2, 3, 5], known, atol=1e-3)
    world = np.array([50 - known[0], -20 + 2 * known[1], 5 * known[2]])  # TEMPLATE, on paper
    np.testing.assert_allclose(field.vectors[:, 2, 3, 5], world - (10 + 2 * i, 20 + 3 * j, 30 + 4 * k), atol=1e-3)


def test_matrix_and_displacement_add_up_in_template_voxels(tmp_path):
    write_displacements(tmp_path / "s", *constants((4, 6, 8), 1, -2, 3))
    np.savetxt(tmp_path / "s_matrix.txt", np.vstack([np.diag([2.0, 1, 1, 0])[:3], [0.5, 0, -1, 1]]))
    moved = moved_voxels(read_deeds(tmp_path / "s", SCAN, TEMPLATE), TEMPLATE)
    np.testing.assert_allclose(moved[1, 1, 1], (2 * 3 + 0.5 + 1, 3 - 2, 3 - 1 + 3), atol=1e-3)


def test_sizes_that_the_step_does_not_divide(tmp_path):
    """14 x 18 x 25 voxels in steps of 4 are 3 x 4 x 6 control points, stretched over the scan."""
    scan = Grid((14, 18, 25), np.eye(4))
    write_displacements(tmp_path / "s", *constants((3, 4, 6), 1, 2, 3))
    field = read_deeds(tmp_path / "s", scan, scan)
    np.testing.assert_allclose(field.grid.spacing, (14 / 3, 18 / 4, 25 / 6))
    np.testing.assert_allclose(field.vectors[:, 1, 1, 1], (1, 2, 3), atol=1e-5)


@pytest.mark.parametrize("count", [0, 3 * 4 * 6 * 8 - 1, 300])
def test_a_file_of_another_scan(tmp_path, count):
    np.zeros(count, np.float32).tofile(tmp_path / "s_displacements.dat")
    with pytest.raises(UserError, match=r"fit no control grid"):
        read_deeds(tmp_path / "s", SCAN, TEMPLATE)


@pytest.mark.filterwarnings("ignore:loadtxt")
def test_broken_files(tmp_path):
    with pytest.raises(UserError, match=r"does not exist"):
        read_deeds(tmp_path / "s", SCAN, TEMPLATE)
    write_displacements(tmp_path / "s", *constants((4, 6, 8), 0, 0, 0))
    for text in ("1 0 0\n0 1 0\n", "not numbers", ""):
        (tmp_path / "s_matrix.txt").write_text(text)
        with pytest.raises(UserError, match=r"deeds matrix"):
            read_deeds(tmp_path / "s", SCAN, TEMPLATE)


# --- the teacher ---


def prepared(grid, name="scan", path=""):
    hu = torch.from_numpy(np.random.default_rng(0).uniform(-1000, 500, grid.shape).astype(np.float32))
    return PreparedScan(name, hu, grid, str(path))


def program(folder, name, body):
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)


# stand-ins that leave what a scan moved by (1, 2, 3) voxels would, and note their arguments
LINEAR = """
import sys
out = sys.argv[sys.argv.index("-O") + 1]
open(out + "_matrix.txt", "w").write("1 0 0 0\\n0 1 0 0\\n0 0 1 0\\n1 2 3 1\\n")
open(__file__ + ".log", "a").write(" ".join(sys.argv[1:]) + "\\n")
"""
DEEDS = """
import array, pathlib, shutil, sys
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
assert pathlib.Path(value("-A")).is_file()
array.array("f", [0.0] * (3 * 4 * 6 * 8)).tofile(open(value("-O") + "_displacements.dat", "wb"))
shutil.copy(value("-F"), __file__ + ".fixed.nii.gz")
open(__file__ + ".log", "a").write(" ".join(sys.argv[1:]) + "\\n")
"""


def test_runs_the_programs_with_the_scan_as_fixed(tmp_path):
    program(tmp_path, "linearBCV", LINEAR)
    program(tmp_path, "deedsBCV", DEEDS)
    template = Grid(SCAN.shape, TEMPLATE.affine)
    scan = prepared(SCAN)
    field = DeedsTeacher(tmp_path, tmp_path / "t.nii.gz", arguments=("-G", "2x1")).register(scan, prepared(template))
    np.testing.assert_allclose(moved_voxels(field, template)[1, 2, 3], (3 + 1, 6 + 2, 9 + 3), atol=1e-3)
    given = nib.load(tmp_path / "deedsBCV.fixed.nii.gz").get_fdata()
    np.testing.assert_allclose(given, scan.hu + 1024, atol=1e-3)  # deeds wants no negative intensities
    linear, deeds = ((tmp_path / f"{p}.log").read_text().split() for p in ("linearBCV", "deedsBCV"))
    for words in (linear, deeds):
        assert words[words.index("-F") + 1].endswith("scan.nii.gz")
        assert words[words.index("-M") + 1].endswith("template.nii.gz")
    assert deeds[-2:] == ["-G", "2x1"] and "-A" in deeds
    assert not os.path.exists(os.path.dirname(deeds[1]))  # the working folder is gone


def test_imports_results_made_on_the_original_files(tmp_path):
    save_volume(tmp_path / "pt_7.nii.gz", Volume(prepared(SCAN).hu.numpy(), SCAN))
    save_volume(tmp_path / "t.nii.gz", Volume(prepared(TEMPLATE).hu.numpy(), TEMPLATE))
    write_displacements(tmp_path / "pt_7", *constants((4, 6, 8), 1, 2, 3))
    canonical = Grid.centred(SCAN.centre, (8, 8, 8), 4.0)
    scan = prepared(canonical, "pt_7", tmp_path / "pt_7.nii.gz")
    teacher = DeedsTeacher(tmp_path, tmp_path / "t.nii.gz")
    moved = moved_voxels(teacher.register(scan, prepared(canonical)), TEMPLATE)
    np.testing.assert_allclose(moved[1, 2, 3], (3 + 1, 6 + 2, 9 + 3), atol=1e-3)
    with pytest.raises(UserError, match=r"pt_8"):
        teacher.register(prepared(canonical, "pt_8", tmp_path / "pt_8.nii.gz"), prepared(canonical))


FAILURES = {
    "exit code": ("import sys; sys.exit('out of memory')", "exit code 1: out of memory"),
    "silent": ("raise SystemExit(3)", "exit code 3: no message"),
    "no result": ("", "does not exist"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failing_programs(tmp_path, case):
    body, words = FAILURES[case]
    for name in ("linearBCV", "deedsBCV"):
        program(tmp_path, name, body)
    with pytest.raises(UserError, match=words):
        DeedsTeacher(tmp_path, tmp_path / "t.nii.gz").register(prepared(SCAN), prepared(SCAN))


def test_a_program_that_cannot_be_run(tmp_path):
    for name in ("linearBCV", "deedsBCV"):
        (tmp_path / name).write_text("no program")
    with pytest.raises(UserError, match=r"cannot be run"):
        DeedsTeacher(tmp_path, tmp_path / "t.nii.gz").register(prepared(SCAN), prepared(SCAN))


def test_a_folder_without_deeds(tmp_path):
    for folder, words in ((tmp_path / "none", "does not exist"), (tmp_path, "neither")):
        with pytest.raises(UserError, match=words):
            DeedsTeacher(folder, tmp_path / "t.nii.gz")
