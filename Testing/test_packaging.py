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
    assert model.template is None and model.template_labels is None
    assert (model.atlas.scans, len(model.consensus.organs)) == {"headneck-openkbp": (80, 7), "trunk-phantom": (30, 13)}[
        path.stem
    ]
    assert "phantom" not in name or "synthetic" in model.provenance["cohort"]


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
    extras = re.compile("extra == ['\"](?!train|cluster|film)")
    required = [line for line in importlib.metadata.requires("SlicReg") or [] if not extras.search(line)]
    distributions = {re.match(r"[\w-]+", line)[0] for line in required}
    imports = {"scikit-image": "skimage", "pillow": "pil", "imageio-ffmpeg": "imageio_ffmpeg", "vtk": "vtkmodules"}
    packages = {imports.get(name.lower(), name.lower()) for name in distributions}
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


def citation() -> dict[str, str]:
    """The lines ``name: value`` of CITATION.cff, where address, contributors and the paper's link are kept."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return dict(re.findall(r"^ *(?:- )?([\w-]+): (\S.*)$", text, re.MULTILINE))


def test_address_contributors_and_paper_are_those_of_the_citation():
    known = citation()
    home, paper = known["repository-code"], known["url"]
    owner = home.removeprefix("https://github.com/")
    (authors,) = re.findall(r"^authors:\n(.*?)^\w", (ROOT / "CITATION.cff").read_text(), re.MULTILINE | re.DOTALL)
    author = re.search(r"name: (.*)\n +affiliation: (.*)\n +website: (.*)\n", authors)
    assert author[3] == f"{home}/graphs/contributors"
    cmake = dict(re.findall(r'^set\(EXTENSION_(\w+) "(.*)"\)$', (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE))
    assert cmake["HOMEPAGE"] == home and cmake["CONTRIBUTORS"] == f"{author[1]} ({author[2]})"
    module = (ROOT / "SlicRegExtension" / "SlicReg" / "SlicReg.py").read_text(encoding="utf-8")
    assert f'HOMEPAGE = "{home}"' in module and f'PAPER = "{paper}"' in module
    assert f'parent.contributors = ["{cmake["CONTRIBUTORS"]}"]' in module
    assert json.loads((ROOT / "SlicReg.json").read_text())["scm_url"] == f"{home}.git"
    kinds = {".md", ".yml", ".yaml", ".txt", ".json", ".toml", ".cff", ".py", ".ui", ".ts", ".jinja"}
    folders = (ROOT / name for name in ("docs", "benchmarks", "SlicRegExtension", ".github"))
    pages = [page for folder in folders for page in folder.rglob("*") if not page.parent.name.endswith(".egg-info")]
    for page in (page for page in [*ROOT.glob("*"), *pages] if page.suffix in kinds):
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"(?:github|raw\.githubusercontent)\.com/([\w.-]*SlicReg[\w.-]*/[\w-]+)", text)
        assert set(found) <= {owner}, page
        assert set(re.findall(r"https://openreview\.net/[\w?=.]*", text)) <= {paper}, page
    for url in (cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()):
        start = f"https://raw.githubusercontent.com/{owner}/main/"
        assert url.startswith(start) and (ROOT / url.removeprefix(start)).is_file(), url


def test_the_readme_says_what_the_extension_index_asks():
    """An address to get it, the paper, patents, why the name does not begin with Slicer, and no medical device."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    wanted = (
        citation()["repository-code"],
        citation()["url"],
        "Patents:",
        "need no Slicer, hence the name",
        "not a medical",
    )
    assert [words for words in wanted if words not in text] == []
    description = re.search('EXTENSION_DESCRIPTION "(.*)"', (ROOT / "CMakeLists.txt").read_text())[1]
    assert not re.search("supervoxel|displacement field|optimis|cohort", description)
