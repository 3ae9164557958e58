"""`slicreg carry`: known places in every format and both directions, and one sentence for everything else."""

import csv
import json

import numpy as np
import pytest

from command_line import run
from SlicRegLib.errors import UserError
from SlicRegLib.images.displacements import write_displacements
from SlicRegLib.images.point_files import read_points
from SlicRegLib.results.carry_points import find_transform

SHIFT = np.array([5.0, -8.0, 3.0])  # RAS mm, from the template to the target
POINTS = np.array([[10.0, 20.0, 30.0], [-15.5, 4.25, 0.0]])  # RAS mm
LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def result(tmp_path):
    """The folder of a result; its field is a known shift."""
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = -100.0
    folder = tmp_path / "result"
    folder.mkdir()
    for name, shift in (("transform", SHIFT), ("transform_inverse", -SHIFT)):
        write_displacements(folder / f"{name}.h5", np.broadcast_to(shift, (12, 12, 12, 3)), affine)
    return folder


def write_markups(path, system="LPS", kind="Fiducial"):
    points = [
        {"id": str(n), "label": f"p{n}", "position": list(p * LPS if system in ("LPS", "1") else p), "locked": True}
        for n, p in enumerate(POINTS)
    ]
    points.append({"id": "9", "label": "not placed", "position": None, "positionStatus": "undefined"})
    markup = {"type": kind, "coordinateSystem": system, "controlPoints": points, "measurements": [{"name": "length"}]}
    path.write_text(json.dumps({"@schema": "markups", "markups": [markup]}))


def write_fcsv(path, system="LPS"):
    lines = ["# Markups fiducial file version = 4.11", f"# CoordinateSystem = {system}", "# columns = id,x,y,z"]
    lines = [line for line in lines if system or "Coordinate" not in line]
    for n, p in enumerate(POINTS * LPS if system in ("LPS", "1") else POINTS):
        lines.append(f'vtk_{n},{p[0]},{p[1]},{p[2]},0,0,0,1,1,1,0,"p, {n}",,')
    path.write_text("\n".join(lines) + "\n")


def write_table(path, header="name,r,a,s", separator=","):
    rows = [header.split(",")] + [["x", *map(str, p * LPS if "l" in header.lower() else p)] for p in POINTS]
    path.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")


def write_decimal_commas(path):
    write_table(path, separator=";")
    path.write_text(path.read_text(encoding="utf-8-sig").replace(".", ","), encoding="utf-8-sig")


WRITERS = {
    "lps.mrk.json": write_markups,
    "ras.mrk.json": lambda path: write_markups(path, "RAS", "Curve"),
    "old.mrk.json": lambda path: write_markups(path, "0"),
    "lps.fcsv": write_fcsv,
    "ras.fcsv": lambda path: write_fcsv(path, "0"),
    "bare.fcsv": lambda path: write_fcsv(path, ""),
    "ras.csv": write_table,
    "lps.csv": lambda path: write_table(path, "name,L,P,S"),
    "semicolon.csv": lambda path: write_table(path, separator=";"),
    "decimal_commas.csv": write_decimal_commas,
}


@pytest.mark.parametrize("name", WRITERS)
def test_points_come_to_known_places(result, tmp_path, name, capsys):
    WRITERS[name](tmp_path / name)
    np.testing.assert_allclose(read_points(tmp_path / name).points, POINTS)
    for direction, sign in (("template-to-target", 1), ("target-to-template", -1)):
        out = tmp_path / f"{direction}.{name}"
        words = {"transform": result, "points": tmp_path / name, "direction": direction, "out": out}
        assert run("carry", **words) == 0
        np.testing.assert_allclose(read_points(out).points, POINTS + sign * SHIFT, atol=1e-4)
    assert "2 points written" in capsys.readouterr().out


def test_everything_else_is_kept(result, tmp_path):
    for name in ("lps.mrk.json", "lps.fcsv", "semicolon.csv"):
        WRITERS[name](tmp_path / name)
        assert run("carry", transform=result, points=tmp_path / name, out=tmp_path / f"out.{name}") == 0
    before, after = (json.loads((tmp_path / f"{p}lps.mrk.json").read_text()) for p in ("", "out."))
    assert "measurements" not in after["markups"][0]  # of the old positions
    for old, new in zip(before["markups"][0]["controlPoints"], after["markups"][0]["controlPoints"], strict=True):
        assert {**new, "position": None} == {**old, "position": None} and (new["position"] is None) == (
            old["id"] == "9"
        )
    before, after = ((tmp_path / f"{p}lps.fcsv").read_text().splitlines() for p in ("", "out."))
    assert before[:3] == after[:3]
    old, new = (list(csv.reader(lines[3:])) for lines in (before, after))
    assert [row[:1] + row[4:] for row in old] == [row[:1] + row[4:] for row in new]
    assert (tmp_path / "out.semicolon.csv").read_text(encoding="utf-8-sig").splitlines()[0] == "name;r;a;s"


def test_points_outside_the_scan_are_counted(result, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("r,a,s\n0,0,0\n5000,0,0\n")
    assert run("carry", transform=result / "transform.h5", points=tmp_path / "p.csv", out=tmp_path / "o.csv") == 0
    assert "1 of them lie outside the scan" in capsys.readouterr().out


def test_which_file_leads_where(result, tmp_path):
    forward, back = result / "transform.h5", result / "transform_inverse.h5"
    for given in (result, forward, back):
        assert find_transform(given, "template-to-target") == forward
        assert find_transform(given, "target-to-template") == back
    assert find_transform(tmp_path / "T.h5", "template-to-target") == tmp_path / "T.h5"
    back.unlink()
    for given, text in ((result, "contains no transform_inverse"), (forward, "leads the other way")):
        with pytest.raises(UserError, match=text):
            find_transform(given, "target-to-template")
    (result / "other.h5").touch()
    with pytest.raises(UserError, match="leads the other way"):  # the transform beside it may be of another result
        find_transform(result / "other.h5", "target-to-template")


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("p.txt", "r,a,s\n0,0,0\n", "is no file of points"),
        ("none.csv", None, "does not exist"),
        ("p.csv", "x,y,z\n0,0,0\n", "must name the columns r, a, s"),
        ("p.csv", "r,a,s\n", "it holds no point"),
        ("p.csv", "", "must name the columns"),
        ("p.csv", "r,a,s\n0,0\n", "an entry is missing"),
        ("p.csv", "r,a,s\n0,0,east\n", "no three coordinates"),
        ("p.csv", "r,a,s\n0,0,nan\n", "a coordinate is no number"),
        ("p.csv", b"r,a,s\n\xff\xfe,0,0\n", "it is no text"),
        ("p.mrk.json", "[]", "it is no JSON object"),
        ("p.mrk.json", "{", "cannot be read as points"),
        ("p.mrk.json", "{}", "an entry is missing"),
        ("p.mrk.json", '{"markups": [{"type": "ROI", "controlPoints": []}]}', "of the type ROI cannot be carried"),
        ("p.mrk.json", '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}', "IJK is unknown"),
        ("p.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "cannot be read as points"),
        ("p.mrk.json", '{"markups": [{"controlPoints": [{"position": "abc"}]}]}', "no three coordinates"),
        ("p.mrk.json", '{"markups": [{"coordinateUnits": "cm", "controlPoints": []}]}', "are not in mm"),
        ("p.fcsv", "# CoordinateSystem = 7\na,1,2,3\n", "coordinate system 7 is unknown"),
        ("p.fcsv", "a,1\n", "cannot be read as points"),
    ],
)
def test_what_is_no_file_of_points_is_one_sentence(result, tmp_path, capfd, name, content, text):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    out = tmp_path / f"out.{name}"
    assert run("carry", transform=result, points=tmp_path / name, out=out) == 2
    error = capfd.readouterr().err
    assert text in error and error.count("\n") == 1 and "Traceback" not in error and not out.exists()


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"out": "o.fcsv"}, "let --out end in .csv"),
        ({"out": "p.csv"}, "is one of the inputs"),
        ({"out": "none/o.csv"}, "does not exist"),
        ({"transform": "p.csv"}, "is no displacement field"),
        ({"transform": "none.h5"}, "does not exist"),
        ({"transform": "."}, "contains no transform"),
    ],
)
def test_mistakes(result, tmp_path, capfd, changes, text):
    (tmp_path / "p.csv").write_text("r,a,s\n0,0,0\n")
    words = {"transform": result, "points": tmp_path / "p.csv", "out": tmp_path / "o.csv"}
    words |= {name: tmp_path / value for name, value in changes.items()}
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run("carry", **words) == 2
    error = capfd.readouterr().err
    assert text in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
