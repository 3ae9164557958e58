"""Surfaces: written and read back by VTK, carried by `slicreg carry` to known places with the right normals."""

import numpy as np
import pytest

from command_line import run
from SlicRegLib.images.displacements import write_displacements
from SlicRegLib.images.point_files import read_points

vtk = pytest.importorskip("vtk")
numpy_support = pytest.importorskip("vtk.util.numpy_support")

MATRIX = np.array([[0.2, 0.1, 0.0], [0.0, -0.1, 0.05], [0.1, 0.0, 0.3]])
"""The displacement of a point p in RAS is MATRIX p + SHIFT, which a field of linear interpolation holds exactly."""
SHIFT = np.array([5.0, -8.0, 3.0])
WRITERS = {".vtk": vtk.vtkPolyDataWriter, ".ply": vtk.vtkPLYWriter, ".stl": vtk.vtkSTLWriter}
READERS = {".vtk": vtk.vtkPolyDataReader, ".ply": vtk.vtkPLYReader, ".stl": vtk.vtkSTLReader}
FLIPS = {"LPS": np.array([-1.0, -1.0, 1.0]), "RAS": np.ones(3)}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The transform of a result, a known affine field."""
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = -100.0
    voxels = np.moveaxis(np.indices((12, 12, 12)), 0, -1)
    path = tmp_path_factory.mktemp("result") / "transform.h5"
    write_displacements(path, (voxels * 20.0 - 100.0) @ MATRIX.T + SHIFT, affine)
    return path


def make_sphere(with_normals=True):
    source = vtk.vtkSphereSource()
    source.SetRadius(30)
    source.SetCenter(12, -7, 9)
    source.SetGenerateNormals(with_normals)
    source.Update()
    sphere = source.GetOutput()
    heights = vtk.vtkFloatArray()
    heights.SetName("height")
    for point in to_array(sphere.GetPoints().GetData()):
        heights.InsertNextValue(float(point[2]))
    sphere.GetPointData().AddArray(heights)
    return sphere


def to_array(data):
    return numpy_support.vtk_to_numpy(data).astype(float)


def write(path, surface, header="", ascii=False, double=False, version=None):
    writer = WRITERS[path.suffix]()
    if double:
        writer.SetFileVersion(version)
        points = vtk.vtkPoints()
        points.SetDataTypeToDouble()
        points.DeepCopy(surface.GetPoints())
        surface.SetPoints(points)
    if header and path.suffix == ".ply":
        writer.AddComment(header)
    elif header:
        writer.SetHeader(header)
    writer.SetFileName(str(path))
    writer.SetInputData(surface)
    writer.SetFileTypeToASCII() if ascii else writer.SetFileTypeToBinary()
    assert writer.Write()


def read(path):
    reader = READERS[path.suffix]()
    if path.suffix == ".stl":
        reader.MergingOff()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def vertices(surface):
    return to_array(surface.GetPoints().GetData())


def cells(surface):
    return to_array(surface.GetPolys().GetConnectivityArray())


@pytest.mark.parametrize("space", ["LPS", "RAS", ""])
@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_surface_comes_to_known_places(result, tmp_path, suffix, ascii, space):
    """As VTK reads it back. Cells and values stay; normals of the points are those of the carried ellipsoid."""
    path, out, flip = tmp_path / f"s{suffix}", tmp_path / f"out{suffix}", FLIPS[space or "LPS"]
    write(path, make_sphere(), f"3D Slicer output. SPACE={space}" if space else "", ascii)
    before, carried = read(path), None
    np.testing.assert_allclose(read_points(path).points, vertices(before) * flip, atol=1e-4)
    assert run("carry", transform=result, points=path, out=out) == 0
    carried = read(out)
    ras = vertices(before) * flip
    np.testing.assert_allclose(vertices(carried) * flip, ras + ras @ MATRIX.T + SHIFT, atol=0.01)
    np.testing.assert_array_equal(cells(carried), cells(before))
    if suffix == ".stl":
        return
    old, new = (to_array(surface.GetPointData().GetNormals()) * flip for surface in (before, carried))
    expected = np.linalg.solve((np.eye(3) + MATRIX).T, old.T).T
    np.testing.assert_allclose(new, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=5e-3)
    if suffix == ".vtk":
        old, new = (to_array(surface.GetPointData().GetArray("height")) for surface in (before, carried))
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("version", [42, 51])
def test_both_versions_of_the_legacy_format_and_doubles(result, tmp_path, version, ascii):
    path, out = tmp_path / "s.vtk", tmp_path / "out.vtk"
    write(path, make_sphere(with_normals=False), ascii=ascii, double=True, version=version)
    assert run("carry", transform=result, points=path, out=out) == 0
    ras, carried = vertices(read(path)) * FLIPS["LPS"], read(out)
    np.testing.assert_allclose(vertices(carried) * FLIPS["LPS"], ras + ras @ MATRIX.T + SHIFT, atol=0.01)
    assert carried.GetPointData().GetNormals() is None and carried.GetPoints().GetDataType() == vtk.VTK_DOUBLE


def test_the_facets_of_an_stl_file_have_their_own_normals(result, tmp_path):
    for ascii in (False, True):
        path, out = tmp_path / f"{ascii}.stl", tmp_path / f"out{ascii}.stl"
        write(path, make_sphere(), ascii=ascii)
        assert run("carry", transform=result, points=path, out=out) == 0
        if ascii:
            words = [line.split() for line in out.read_text().splitlines()]
            normals = np.array([word[2:] for word in words if word[0] == "facet"], float)
        else:
            content = np.frombuffer(out.read_bytes()[84:], np.uint8).reshape(-1, 50)
            normals = content[:, :12].copy().view("<f4").astype(float)
        corners = vertices(read(out)).reshape(-1, 3, 3)
        middle = corners.mean(1) - corners.mean((0, 1))
        assert len(normals) == len(corners) == 96 and (np.sum(normals * middle, 1) > 0).all()  # they point outwards
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
        np.testing.assert_allclose(np.sum(normals * (corners[:, 1] - corners[:, 0]), 1), 0, atol=2e-3)


def test_normals_of_cells_are_refused(result, tmp_path, capfd):
    maker = vtk.vtkPolyDataNormals()
    maker.SetInputData(make_sphere(with_normals=False))
    maker.ComputePointNormalsOff()
    maker.ComputeCellNormalsOn()
    maker.Update()
    write(tmp_path / "s.vtk", maker.GetOutput())
    assert run("carry", transform=result, points=tmp_path / "s.vtk", out=tmp_path / "o.vtk") == 2
    assert "normals are not those of its points" in capfd.readouterr().err and not (tmp_path / "o.vtk").exists()


@pytest.mark.parametrize("suffix", WRITERS)
def test_damaged_surfaces_are_one_sentence(result, tmp_path, capfd, suffix):
    """Cut at any place, and with single bytes changed in the header. What is cut within the positions is noticed."""
    for ascii in (False, True):
        write(tmp_path / f"s{suffix}", make_sphere(), ascii=ascii)
        content = (tmp_path / f"s{suffix}").read_bytes()
        cuts = [content[: len(content) * n // 20] for n in range(20)]
        for n, broken in enumerate([*cuts, *(content[:n] + b"~" + content[n + 1 :] for n in range(0, 200, 7))]):
            path, out = tmp_path / f"b{suffix}", tmp_path / f"o{suffix}"
            path.write_bytes(broken)
            code, error = run("carry", transform=result, points=path, out=out), capfd.readouterr().err
            assert (code, out.exists()) in ((0, True), (2, False)) and "Traceback" not in error
            assert code == 0 or (error.startswith("slicreg: ") and error.count("\n") == 1)
            assert code == 2 or n > (19 if suffix == ".stl" else 2), (ascii, n)
            out.unlink(missing_ok=True)


@pytest.mark.parametrize("space", ["RAS", "LPS", ""])
@pytest.mark.parametrize("suffix", WRITERS)
def test_slicer_sees_the_carried_surface_at_the_same_place(result, tmp_path, suffix, space):
    """Slicer's own reader and writer of models: the frame in the header, and LPS where there is none."""
    slicer = pytest.importorskip("slicer")

    def load(path):
        scene, model, storage = slicer.vtkMRMLScene(), slicer.vtkMRMLModelNode(), slicer.vtkMRMLModelStorageNode()
        scene.AddNode(model)
        scene.AddNode(storage)
        storage.SetFileName(str(path))
        return model, storage

    model, storage = load(path := tmp_path / f"s{suffix}")
    model.SetAndObservePolyData(make_sphere())
    if space:
        storage.SetCoordinateSystem(storage.GetCoordinateSystemFromString(space))
        assert storage.WriteData(model)
    else:
        write(path, make_sphere())
    assert run("carry", transform=result, points=path, out=tmp_path / f"out{suffix}") == 0
    (before, reader), (after, other) = load(path), load(tmp_path / f"out{suffix}")
    assert reader.ReadData(before) and other.ReadData(after)
    ras = vertices(before.GetPolyData())
    np.testing.assert_allclose(vertices(after.GetPolyData()), ras + ras @ MATRIX.T + SHIFT, atol=0.01)
