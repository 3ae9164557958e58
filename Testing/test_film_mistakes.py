"""`slicreg film`: one sentence for mistakes, and no files where it is cancelled or fails."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from command_line import is_one_sentence, run
from film_samples import ALL, GREYS
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.results import film_writing
from tiny import phantom

pytest_plugins = ["film_fixtures"]
pytestmark = pytest.mark.usefixtures("in_this_process")


def break_(result: Path, how: str) -> dict:
    """Spoil a result; returns options of the command."""
    match how:
        case "no folder":
            shutil.rmtree(result)
        case "no result":
            (result / "report.json").unlink()
        case "several":
            result.rename(result.parent / "inner")
            result.mkdir()
            (result.parent / "inner").rename(result / "scan_1")
        case "damaged report":
            (result / "report.json").write_text("{")
        case "no scan":
            (result / "report.json").write_text('{"target": "gone.nii.gz"}')
        case "no name of a scan":
            (result / "report.json").write_text("{}")
        case "another scan":
            save_volume(result.parent / "other.nii.gz", Volume(phantom(1)[0].data[:40], phantom(1)[0].grid.slab(0, 40)))
            return {"target": result.parent / "other.nii.gz"}
        case "another patient":  # on the same grid, and there are no labels
            (result / "warped_labels.nii.gz").unlink()
            save_volume(result.parent / "other.nii.gz", phantom(2)[0])
            return {"target": result.parent / "other.nii.gz"}
        case "no transform":
            (result / "transform.h5").unlink()
        case "damaged transform":
            (result / "transform.h5").write_bytes(b"x")
        case "suffix":
            return {"out": result.parent / "film.avi"}
        case "no output folder":
            return {"out": result.parent / "nowhere" / "film.gif"}
        case "output is a folder":
            (result.parent / "film.gif").mkdir()
        case "small":
            return {"width": 100}
    return {}


MISTAKES = {
    "no folder": "does not exist",
    "no result": "no report.json",
    "several": "such as",
    "damaged report": "damaged",
    "no scan": "give the scan with --target",
    "no name of a scan": "give the scan with --target",
    "another scan": "is not the scan that was registered",
    "another patient": "is not the scan that was registered",
    "no transform": "contains no transform",
    "damaged transform": "transform.h5",
    "suffix": ".mp4, .gif or .webp",
    "no output folder": "does not exist",
    "output is a folder": "is a folder",
    "small": "at least 320",
}


@pytest.mark.parametrize("how", MISTAKES)
def test_a_mistake_is_one_sentence(result, how, capfd):
    options = {"out": result.parent / "film.gif", **ALL, "surface": "none", **break_(result, how)}
    before = set(result.parent.rglob("*"))
    try:
        code = run("film", result, **options)
    except SystemExit as end:
        code = end.code
    errors = re.sub(r"reading:[^\n]*\n|.*\r", "", capfd.readouterr().err).splitlines()
    assert code == 2 and len(errors) == 1 and errors[0].startswith("slicreg: ") and MISTAKES[how] in errors[0], errors
    assert set(result.parent.rglob("*")) == before


def test_a_missing_encoder_is_one_sentence(made, tmp_path, monkeypatch, capfd):
    find = film_writing.importlib.util.find_spec
    monkeypatch.setattr(
        film_writing.importlib.util, "find_spec", lambda name, *rest: None if name == "imageio_ffmpeg" else find(name)
    )
    assert run("film", made, out=tmp_path / "film.mp4") == 2
    assert is_one_sentence(capfd, "pip install imageio-ffmpeg") and list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_is_one_sentence(made, tmp_path, monkeypatch):
    monkeypatch.setattr(film_writing, "_QUALITY", ["-c:v", "nothing"])
    with pytest.raises(film_writing.UserError, match="ffmpeg could not write"):
        film_writing.write_film(tmp_path / "a.mp4", (Image.new("RGB", (64, 48)) for _ in range(3)), 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_what_ends_the_drawing_leaves_no_file(tmp_path, suffix):
    (tmp_path / f"film{suffix}").write_bytes(b"the last one")

    def frames():
        yield Image.new("RGB", (64, 48))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film_writing.write_film(tmp_path / f"film{suffix}", frames(), 2, GREYS)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the last one"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_ends_it_without_a_file(made, tmp_path):
    words = ["-m", "SlicRegLib", "film", str(made), "--out", str(tmp_path / "film.mp4"), "--seconds", "120", "--json"]
    words += ["--surface", "none"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    assert any('"slices"' in line for line in process.stdout)  # it draws
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    said = process.stderr.read().splitlines()[-1]
    assert process.wait(20) == 130 and list(tmp_path.iterdir()) == []
    assert said == "slicreg: interrupted; repeat the command to begin anew."
