"""The template of a model as plain arrays is what PyTorch reads from it."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from average_samples import NAMES, copy_without_template, make_average_model
from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.segment_defaults import invent_colour
from SlicRegLib.images.volumes import Volume
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from SlicRegLib.registration.own_template import OwnOrgan, list_organs, read_own_template

PHANTOM = MODELS / "trunk-phantom.slicreg"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_average_model(tmp_path_factory.mktemp("models") / "average.slicreg")


def test_image_and_labels_are_those_of_the_model(path):
    own, model = read_own_template(path), load_model(path)
    np.testing.assert_array_equal(own.hu, model.atlas.image.data)
    np.testing.assert_array_equal(own.affine, model.atlas.image.grid.affine)
    np.testing.assert_array_equal(own.labels, model.consensus.labels.data)
    np.testing.assert_array_equal(own.labels_affine, model.consensus.grid.affine)
    assert set(np.unique(own.labels)) == {0, *NAMES}
    assert own.organs[0] == OwnOrgan(1, NAMES[1], (200, 1, 10))
    assert own.organs[1] == OwnOrgan(2, NAMES[2], invent_colour(2)) and len(own.organs) == len(NAMES)


def test_shares_are_compared_with_their_thresholds(path, tmp_path):
    """Of two organs in one voxel the one that exceeds its threshold by the larger factor has it."""
    model = load_model(path)
    first, second = model.consensus.organs[:2]
    random = np.random.default_rng(0)
    organs = (
        replace(first, shares=random.integers(0, 256, (9, 8, 7)).astype(np.uint8), first=(3, 4, 5), threshold=0.3),
        replace(second, shares=random.integers(0, 256, (8, 9, 6)).astype(np.uint8), first=(5, 4, 4), threshold=0.55),
    )
    consensus = replace(model.consensus, organs=organs)
    save_model(tmp_path / "random.slicreg", replace(model, consensus=consensus))
    own = read_own_template(tmp_path / "random.slicreg")
    np.testing.assert_array_equal(own.labels, consensus.on(consensus.grid).data)  # as they are interpolated
    assert (own.labels == 1).sum() > 50 and (own.labels == 2).sum() > 50


def test_a_template_that_is_a_scan_has_numbered_labels(tmp_path):
    grid = Grid.centred((0, 0, 0), (12, 10, 8), 3.0)
    hu = np.random.default_rng(0).integers(-1000, 500, grid.shape).astype(np.float32)
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:5, 2:5, 2:5], labels[6:9, 6:9, 4:7] = 3, 12
    scan = {"template": Volume(hu, grid), "template_labels": Volume(labels, grid)}
    save_model(tmp_path / "scan.slicreg", replace(load_model(PHANTOM), atlas=None, consensus=None, **scan))
    own = read_own_template(tmp_path / "scan.slicreg")
    np.testing.assert_array_equal(own.hu, hu)
    np.testing.assert_array_equal(own.labels, labels)
    assert [organ.name for organ in own.organs] == ["Label 3", "Label 12"]


def test_no_template_or_a_damaged_one_is_one_sentence(path, tmp_path):
    with pytest.raises(UserError, match=r"holds no template of its own; choose"):
        bare = tmp_path / "bare.slicreg"
        copy_without_template(PHANTOM, bare)
        read_own_template(bare)
    with pytest.raises(UserError, match="damaged"):
        cut = tmp_path / "cut.slicreg"
        cut.write_bytes(path.read_bytes()[:5000])
        read_own_template(cut)
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        read_own_template(tmp_path / "none.slicreg")


CHANGES = {
    "a value twice": {"value": 2},
    "a negative value": {"value": -1},
    "a huge value": {"value": 70000},
    "no threshold": {"threshold": None},
    "a threshold of 0": {"threshold": 0.0},
    "a name that is missing": {"name": ...},
    "a colour that is a word": {"colour": "red"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_hostile_consensus_is_one_sentence(path, tmp_path, change):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "m.slicreg", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "bundle.json":
                about = json.loads(content)
                about.pop("sha256")
                about["organs"][0] = {k: v for k, v in {**about["organs"][0], **change}.items() if v is not ...}
                content = json.dumps(about).encode()
            new.writestr(name, content)
    with pytest.raises(UserError, match="damaged; copy or download the model again"):
        read_own_template(tmp_path / "m.slicreg")
    read_model(tmp_path / "m.slicreg").describe()


@pytest.mark.parametrize("organs", [None, 7, [1], [{"value": "x"}], [{"value": 1, "name": "a", "colour": [1]}]])
def test_hostile_descriptions_name_no_organs(organs):
    assert list_organs({"organs": organs}) == ()


def test_it_needs_no_torch(path):
    """Slicer's own process reads it."""
    code = "import sys; from SlicRegLib.registration.own_template import read_own_template; "
    code += f"read_own_template({str(path)!r}); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_the_header_names_the_organs(path):
    header = read_model(path)
    assert [organ.name for organ in list_organs(header.about)] == list(header.organs) == list(NAMES.values())
    lines = header.describe().splitlines()
    assert "Template: average of 30 scans, included in the model" in lines
    assert "Organs: spleen, right kidney, left kidney, gallbladder, esophagus" in lines
    many = replace(header, about={**header.about, "organs": [{"name": f"rib {n}"} for n in range(30)]})
    assert "rib 23, and 6 more\n" in many.describe()
