"""The comparison of whole programs, and how cost grows: what is run in which order, and figures with known answers."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.colors
import numpy as np
import pytest
import torch
from matplotlib import image

import serving
from SlicRegLib.geometry.field import identity_field
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.reading import read_image
from SlicRegLib.images.volumes import load_scan, save_volume
from SlicRegLib.phantoms.phantom import PhantomOptions, make_phantom
from tiny import write_cohort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import programs
import scaling
import wall
import wall_results
import wall_tools
from programs import Cost

GRID = Grid((4, 4, 4), np.diag([20.0, 20, 20, 1]))


def make_fake(log, key, seconds, kind="peer", version="1", fail_at=None):
    """A program that takes ``seconds``, one after the other, and notes that it ran."""
    left = list(seconds)

    def run(out):
        assert list(out.iterdir()) == []
        log.append(key)
        (out / "result").touch()
        if log.count(key) == fail_at:
            raise RuntimeError("no overlap")
        second = left.pop(0)
        return Cost(second, 2 * second, 100 * second)

    def read(out):
        assert (out / "result").exists()
        log.append(f"read {key}")
        return identity_field(GRID)

    return wall_tools.Program(key, version, run, read, kind)


def test_programs_take_turns_and_medians_are_right(tmp_path):
    log = []
    fakes = {
        "ours": make_fake(log, "ours", (1.0, 9.0, 2.0), "ours"),
        "good": make_fake(log, "good", (4.0, 5.0, 40.0)),
        "bad": make_fake(log, "bad", (1.0, 1.0, 1.0)),
        "fails": make_fake(log, "fails", (1.0, 1.0, 1.0), fail_at=2),
    }
    dice, units = iter((0.67, 0.65, 0.55, 0.70)), iter(range(1, 100))

    def time_unit():
        log.append("unit")
        return next(units)

    measured = wall.measure_rounds(fakes, 3, tmp_path, time_unit, lambda field: next(dice))
    first = [word for key in fakes for word in ("unit", key, f"read {key}")]
    later = [word for key in fakes for word in ("unit", key)]
    assert log == [*first, *later, *later[:-2]]  # what failed in the second round is not tried in the third
    results = wall_results.summarise(measured)
    assert results["unit"] == 6  # the median of 1 to 11
    rows = results["rows"]
    assert rows["ours"]["seconds"] == 2 and rows["ours"]["cpu_seconds"] == 4 and rows["ours"]["peak_mb"] == 200
    assert rows["ours"]["units"] == pytest.approx(2 / 6)
    assert rows["fails"]["failed"] == "no overlap" and len(rows["fails"]["runs"]) == 1
    assert results["fastest"] == "fails" and rows["ours"]["ratio"] == 2 / 1
    rows["fails"]["dice"] = 0.6  # not above it
    again = wall_results.summarise(results)
    assert again["fastest"] == "good" and again["rows"]["ours"]["ratio"] == 2 / 5


def test_the_command_with_fake_programs(tmp_path, monkeypatch, capsys):
    cohort, log = write_cohort(tmp_path / "cohort", 1), []
    fakes = {
        "cold": make_fake(log, "cold", (2.0, 3.0), "ours"),
        "greedy": make_fake(log, "greedy", (4.0, 6.0)),
        "elastix": make_fake(log, "elastix", (), version=None),
    }

    def list_fakes(inputs, *_):
        fixed, positive = (read_image(path, "")[:2] for path in (inputs.fixed, inputs.fixed_positive))
        assert positive[1].matches(load_scan(inputs.moving).grid)
        np.testing.assert_allclose(positive[0], np.maximum(fixed[0] + 1024.0, 0), atol=1)
        return fakes

    monkeypatch.setattr(wall, "list_programs", list_fakes)
    monkeypatch.setattr(wall, "Product", lambda: lambda: 0.5)
    files = {
        "template": cohort / "template.nii.gz",
        "template-label": cohort / "template_label.nii.gz",
        "target": cohort / "template.nii.gz",  # itself: Dice 1
        "target-label": cohort / "template_label.nii.gz",
        "model": "trunk-phantom",
        "out": tmp_path / "out",
        "threads": torch.get_num_threads(),
        "rounds": 2,
    }
    wall.main([word for name, value in files.items() for word in (f"--{name}", str(value))])
    printed = capsys.readouterr().out
    assert "elastix is left out: not installed" in printed and "deeds is left out" in printed
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in printed
    lines = table.splitlines()
    assert lines[0] == "| program | wall s | units | CPU s | peak MB | Dice | x greedy |"
    assert lines[2:4] == [
        "| cold | 2.50 | 5.0 | 5.0 | 250 | 1.000 | 0.50 |",
        "| greedy | 5.00 | 10.0 | 10.0 | 500 | 1.000 | 1.00 |",
    ]
    results = json.loads((tmp_path / "out" / "wall.json").read_text())
    assert results["unit_seconds"] == [0.5] * 4 and [r["seconds"] for r in results["rows"]["cold"]["runs"]] == [2, 3]
    picture = image.imread(tmp_path / "out" / "wall.png")[..., :3]
    red, grey = ((abs(picture - matplotlib.colors.to_rgb(c)).max(-1) < 0.01).sum() for c in ("tab:red", "0.6"))
    assert grey / red == pytest.approx(5.0 / 2.5, rel=0.1)  # areas of bars of one height


def test_the_cost_of_a_program_is_its_own():
    """Also where the process that measures it is larger."""
    ballast = np.ones(40 * 2**20)  # 320 MB
    light, heavy = (
        programs.run_program([sys.executable, "-S", "-c", code], {"BUSY": "1"})
        for code in (
            "import os, time; assert os.environ['BUSY']; time.sleep(.3)",
            "import time; b = bytearray(150 << 20)\nwhile time.process_time() < .4: pass",
        )
    )
    assert ballast[-1] == 1 and light.peak_mb < 60 and 150 < heavy.peak_mb < 240
    assert light.seconds > 0.3 and light.cpu_seconds < 0.2 and heavy.cpu_seconds > 0.4
    assert light + heavy == Cost(light.seconds + heavy.seconds, light.cpu_seconds + heavy.cpu_seconds, heavy.peak_mb)


def test_a_program_that_fails_says_why():
    with pytest.raises(RuntimeError, match="failed: no disk"):
        programs.run_program([sys.executable, "-c", "import sys; print('first'); sys.exit('no disk')"], {})
    with pytest.raises(RuntimeError, match="failed"):
        programs.run_program([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {})


def test_a_registration_by_the_process_that_stays(tmp_path):
    words = ["--model", "m", "--template", "t.nii.gz", "--target", "s.nii.gz", "--out", str(tmp_path)]
    act = """
        def act(request, progress, kept):
            print("about to start")
            began = time.process_time()
            while time.process_time() < began + .2:
                pass
            with open(request.out / "runs", "a") as runs:
                runs.write("x")
    """
    served = wall_tools.Served(serving.serve_words(act), 2)
    try:
        cost = served.register(words)
        assert (tmp_path / "runs").read_text() == "xx"  # the first one warms it up
        assert 0.2 <= cost.cpu_seconds < 2 and cost.seconds >= 0.2 and 10 < cost.peak_mb < 500
        with pytest.raises(RuntimeError, match="--out"):
            served.register(words[:-2])
    finally:
        process = served._process
        served.close()
    assert process.poll() is not None


def test_an_adapter_in_a_process_of_its_own(tmp_path):
    cohort = write_cohort(tmp_path / "cohort", 1)
    scan, target = cohort / "template.nii.gz", cohort / "img" / "pt_1.nii.gz"
    command = [sys.executable, wall_tools.__file__, "start", scan, target, tmp_path, "1"]
    subprocess.run(list(map(str, command)), check=True)
    assert not wall_tools._read_transform("transform.h5", tmp_path).vectors.any()
    assert load_scan(tmp_path / "warped.nii.gz").grid.matches(load_scan(scan).grid)


def test_growth_has_the_known_exponents(tmp_path, monkeypatch, capsys):
    sizes, started = {}, []

    def run(command, environment):
        words = dict(zip(command[-2::-1], command[:0:-1], strict=False))
        out = Path(words["--out"])
        started.append(command[-2])
        names = [path.name for path in Path(words["--images"]).iterdir()] if "--images" in words else ["."]
        for name in names:
            (out / name).mkdir(parents=True, exist_ok=True)
            (out / name / "report.json").write_text('{"seconds": {"total": 2.0}}')
        if "--target" in words:
            voxels = load_scan(words["--target"]).data.size
            sizes[voxels] = load_scan(words["--target"]).grid.spacing[0]
            return Cost(voxels**0.5, voxels, 700)
        return Cost(3.0 * len(names), 1.0, 500)

    def make(seed, options):
        small = np.prod(options.shape) < 100_000
        return (
            make_phantom(seed, options) if small else SimpleNamespace(image=noise, labels=noise > 0, affine=np.eye(4))
        )

    noise = np.random.default_rng(0).normal(0, 100, PhantomOptions.shape)
    monkeypatch.setattr(scaling, "make_phantom", make)
    monkeypatch.setattr(
        scaling, "save_volume", lambda path, v: save_volume(path, v) if v.data.size < 1e5 else path.touch()
    )
    monkeypatch.setattr(scaling, "run_program", run)
    scaling.main(
        ["--voxels", "0.01", "0.04", "--scans", "1", "2", "--rounds", "2", "--json", str(tmp_path / "figures.json")]
    )
    assert len(started) == 8 and sorted(sizes) == pytest.approx([10_000, 40_000], rel=0.06)
    small, large = sizes[min(sizes)], sizes[max(sizes)]
    assert small / large == pytest.approx(4 ** (1 / 3))  # the same body, sampled finer
    last = [line for line in capsys.readouterr().out.splitlines() if "grows to the power" in line]
    assert [float(cell) for cell in last[0].split("|")[2:6]] == pytest.approx([0.5, 1, 0, 0], abs=0.03)
    assert [float(cell) for cell in last[1].split("|")[2:6]] == pytest.approx([1, 0, 1, 0], abs=0.01)
    assert [row["seconds"] for row in json.loads((tmp_path / "figures.json").read_text())["scans"]] == [3, 6]


def test_deeds_is_two_programs(tmp_path):
    scan = write_cohort(tmp_path / "cohort", 1) / "template.nii.gz"
    shape = [size // 4 for size in load_scan(scan).data.shape]
    bodies = {
        "linearBCV": "pathlib.Path(out + '_matrix.txt').write_text('1 0 0 0\\n0 1 0 0\\n0 0 1 0\\n0 0 0 1')",
        "deedsBCV": f"assert sys.argv[-1] == out + '_matrix.txt'; "
        f"pathlib.Path(out + '_displacements.dat').write_bytes(bytes(12 * {np.prod(shape)}))",
    }
    for name, body in bodies.items():
        start = f"import pathlib, sys, time; time.sleep(.2); out = sys.argv[sys.argv.index('-O') + 1]; {body}"
        (tmp_path / name).write_text(f"#!{sys.executable}\n{start}\n")
        (tmp_path / name).chmod(0o755)
    inputs = wall_tools.Inputs(*[scan] * 8)
    cost = wall_tools.run_deeds(inputs, tmp_path, {}, tmp_path)
    assert cost.seconds > 0.4 and cost.peak_mb > 1  # both
    np.testing.assert_allclose(wall_tools._read_deeds(inputs, tmp_path).vectors, 0, atol=1e-4)
