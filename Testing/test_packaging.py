"""What is in the package: the models, and nothing that may not be given away. And that it works outside a checkout."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

import SlicRegLib
from imports import imported, modules
from SlicRegLib.errors import UserError
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.registration.model import load_model

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "SlicRegExtension" / "Resources" / "Models"
NAMES = ("headneck-openkbp.slicreg", "trunk-phantom.slicreg")


@pytest.mark.parametrize("name", NAMES)
def test_models_hold_no_patient(name):
    path = MODELS / name
    model = load_model(path)
    assert path.stat().st_size < 20_000_000
    assert model.layers.shape[0] == 16 and len(np.unique(model.layers)) == 128
    if "phantom" in name:
        assert "synthetic" in model.provenance["cohort"]
    else:
        assert model.template is None and model.template_labels is None


def test_no_other_model_is_shipped():
    assert sorted(path.name for path in MODELS.iterdir()) == list(NAMES)


def _run(*command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of programs of a fresh environment that has a wheel of this checkout, built here."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"slicreg-{SlicRegLib.__version__}-")
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    _run(*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel)
    # torch and the other dependencies are borrowed: to install them again would take minutes
    script = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = Path(_run(programs / "python", "-c", script).stdout.strip())
    (own / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs, wheel


def test_the_wheel_holds_models_and_types(installed):
    names = set(zipfile.ZipFile(installed[1]).namelist())
    assert {f"SlicRegLib/models/{name}" for name in NAMES} <= names
    assert "SlicRegLib/py.typed" in names and "SlicRegLib/jobs/report/report.html.jinja" in names
    assert not any(name.startswith(("SlicRegSlicer", "Testing", "SlicReg.py")) for name in names)
    python = {
        str(p.relative_to(ROOT / "SlicRegExtension/SlicReg")) for p in Path(SlicRegLib.__file__).parent.rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == python


@pytest.mark.slow
def test_the_installed_demo_works_outside_a_checkout(installed, tmp_path):
    """The package is the wheel's, not the checkout's; the Dice of the organs rises as in the README."""
    programs, _ = installed
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where = _run(programs / "python", "-c", "import SlicRegLib; print(SlicRegLib.__file__)", cwd=tmp_path, env=clean)
    assert Path(where.stdout.strip()).is_relative_to(programs.parent)
    text = _run(programs / "slicreg", "demo", "--device", "cpu", cwd=tmp_path, env=clean).stdout
    reports = json.loads((tmp_path / "demo" / "summary.json").read_text())
    for report in reports:
        assert report["own_template"] and report["folding_percent"] < 1 and report["verdict"]["word"] != "failed"
        assert set(report["after"]["dice"]) == {str(label) for label in ORGANS}
    before, after = (np.mean([r[when]["mean_dice"] for r in reports]) for when in ("before", "after"))
    assert before < 0.1 and after > 0.8
    assert all(organ in text for organ in ORGANS.values())
    for name in (
        "transform.h5",
        "transform_inverse.h5",
        "warped_target.nii.gz",
        "warped_labels.nii.gz",
        "overview.png",
    ):
        path = Path("demo") / "phantom_1001" / name
        assert (tmp_path / path).stat().st_size > 0 and str(path) in text


def test_every_import_is_a_dependency():
    """What the library imports anywhere is in pyproject.toml; nothing is there that it does not import."""
    extras = re.compile("extra == ['\"](?!train|cluster)")
    required = [line for line in importlib.metadata.requires("SlicReg") or [] if not extras.search(line)]
    distributions = {re.match(r"[\w-]+", line)[0] for line in required}
    packages = {{"scikit-image": "skimage", "pillow": "pil"}.get(name.lower(), name.lower()) for name in distributions}
    files = modules(Path(SlicRegLib.__file__).parent)
    found = set().union(*(imported(name, path, set(files)) for name, path in files.items() if name != "SlicRegLib"))
    found = {name.split(".")[0].lower() for name in found} - set(sys.stdlib_module_names) - {"slicreglib"}
    assert found | {"packaging"} == packages  # packaging: for the Slicer module


def test_bundled_models_go_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_model("trunk-phantom").template_sha256 == load_model(MODELS / "trunk-phantom.slicreg").template_sha256
    with pytest.raises(UserError, match=r"No-such does not exist.*headneck-openkbp, trunk-phantom"):
        load_model("No-such")
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "trunk-phantom")  # a path is not a name
