"""Damaged files and words: refused in one sentence, or read. `reliability/fuzz.py` tries thousands."""

import contextlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SlicRegLib.cli.main import main
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.own_template import read_own_template
from test_atlas import make_atlas
from test_consensus import sample
from test_model import make, template

sys.path.insert(0, str(Path(__file__).parent / "reliability"))

import fuzz_mutations as m

SEED = 11


def reads(read, path) -> bool:
    """Whether the file was read; if not, it was refused in one sentence."""
    try:
        read(path)
        return True
    except UserError as error:
        text = str(error)
    assert text.endswith(".") and text.isprintable(), text
    return False


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("way", ["bytes", "parts"])
def test_damaged_models(tmp_path, monkeypatch, way):
    monkeypatch.setattr(m, "BOMB_BITS", 24)
    whole, path = tmp_path / "whole.slicreg", tmp_path / "m.slicreg"
    save_model(whole, make(**template()))
    content, read = whole.read_bytes(), 0
    for number in range(60):
        rng = np.random.default_rng([SEED, number])
        if way == "bytes":
            changed = m.damage(content, rng, 2000)
        else:
            changed = m.change_zip(
                content, rng, {".json": m.change_json, ".npz": m.change_npz}, lambda part, rng=rng: m.damage(part, rng)
            )
        path.write_bytes(changed)
        accepted = reads(load_model, path)
        read += accepted
        assert not accepted or read_model(path).usable
    assert read < 10  # those whose change changed nothing


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("part", ["bundle.json", "consensus.npz", "atlas.npz"])
def test_damaged_averages_without_sums(tmp_path, part):
    """What is accepted can be shown: its labels, its features, its description."""
    whole, path = tmp_path / "whole.slicreg", tmp_path / "m.slicreg"
    save_model(whole, make(atlas=make_atlas(), consensus=sample()))
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(parts["bundle.json"])
    del about["sha256"]
    only = {key: about.pop(key) for key in ("organs", "atlas")}  # what is changed: the rest has tests of its own
    read = 0
    for number in range(80):
        rng = np.random.default_rng([SEED, number])
        changed = {**parts, "bundle.json": json.dumps({**about, **only}).encode()}
        if part == "bundle.json":
            with contextlib.suppress(ValueError):  # damage to the text itself is tested above
                changed[part] = json.dumps(
                    {**about, **json.loads(m.change_json(json.dumps(only).encode(), rng))}
                ).encode()
        else:
            changed[part] = (m.change_npz if number % 3 else m.change_header_of_npz)(parts[part], rng)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        if reads(load_model, path):
            read += 1
            model = load_model(path)
            assert model.consensus.labels.data.shape == model.consensus.grid.shape and model.summary()["organs"]
            assert model.atlas.compared(RefinementOptions(), torch.device("cpu")).features.values.isfinite().all()
        reads(read_own_template, path)
        read_model(path).describe()
    assert read < 60


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A ball of soft tissue in air in several formats, uncompressed."""
    folder = tmp_path_factory.mktemp("scans")
    i, j, k = np.indices((24, 24, 20)) - 10.0
    hu = np.where(i**2 + j**2 + k**2 < 60, 40, -1000) + np.random.default_rng(0).integers(-20, 20, i.shape)
    volume = Volume(hu.astype(np.int16), Grid.centred((0, 0, 0), hu.shape, (8.0, 8.0, 9.0)))
    for name in ("s.nii", "s.nii.gz"):
        save_volume(folder / name, volume)
    image = sitk.ReadImage(str(folder / "s.nii"))
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    for name in ("s.nrrd", "s.mha"):
        sitk.WriteImage(image, str(folder / name))
    return folder


@pytest.mark.parametrize("name", ["s.nii", "s.nii.gz", "s.nrrd", "s.mha"])
def test_damaged_scans(scans, tmp_path, capfd, name):
    """What is read is read as by SimpleITK, and no library prints anything."""
    content, path = (scans / name).read_bytes(), tmp_path / name
    assert reads(load_scan, scans / name)
    for number in range(40):
        rng = np.random.default_rng([SEED, number])
        if name.endswith("gz"):
            changed = m.change_gzip(content, rng, lambda part, rng=rng: m.damage(part, rng, 352))
        elif name.endswith("nii") or number % 2:
            changed = m.damage(content, rng, 352)
        else:
            end = content.find(b"\n\n" if name.endswith("nrrd") else b"LOCAL")
            changed = m.change_text(content[:end], rng) + content[end:]
        path.write_bytes(changed)
        if not reads(load_scan, path):
            continue
        scan, image = load_scan(path), sitk.ReadImage(str(path))
        assert scan.grid.shape == image.GetSize()[:3], number
        last = [n - 1 for n in scan.grid.shape]
        theirs = image.TransformContinuousIndexToPhysicalPoint([*map(float, last), 0.0][: image.GetDimension()])[:3]
        assert np.allclose(scan.grid.to_world(np.array(last, float)), np.array(theirs) * [-1, -1, 1], atol=0.1), number
    capfd.readouterr()  # SimpleITK's own reading above may print warnings


def test_wrong_words():
    """Exit code 2 and one sentence."""
    options = (
        "--key-points --iterations --shape --spacing --jobs --template --images --out --nonsense -x --alpha".split()
    )
    for number in range(25):
        rng = np.random.default_rng([SEED, number])
        words = [str(rng.choice(["register", "check", "prepare", "nonsense", ""]))]
        for option in rng.choice(options, int(rng.integers(1, 4)), replace=False):
            words += [str(option), *map(str, rng.choice([*m.WORDS, "10000000000"], int(rng.integers(0, 3))))]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code
        assert code == 2 and out.getvalue() == "", words
        assert err.getvalue().startswith("slicreg: ") and err.getvalue().count("\n") == 1, (words, err.getvalue())
        assert err.getvalue()[:-1].isprintable(), words


@pytest.mark.parametrize(
    "old, new, words",
    [
        (b"NDims = 3", b"NDims = 99999999999999999999", "no valid NDims"),
        (b"NDims = 3", b"NDims = 11", "no valid NDims"),
        (b"NDims = 3", b"NDims = 9", "in DimSize .* are 3, not 9"),
        (b"DimSize = 24 24 20", b"DimSize = 24 24", "in DimSize .* are 2, not 3"),
    ],
)
def test_headers_that_would_end_the_process_in_itk(scans, tmp_path, old, new, words):
    content, path = (scans / "s.mha").read_bytes(), tmp_path / "s.mha"
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=words):
        load_scan(path)


def test_names_that_a_terminal_would_obey_are_shown_as_escapes(scans, tmp_path, capfd):
    table = tmp_path / "list.csv"
    table.write_bytes(b"path\n\x1b[2Jx\0\x07.nii\n")
    assert main(["check", "--template", str(scans / "s.nii"), "--images", str(table), "--json"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and error[:-1].isprintable() and r"\x1b[2Jx\x00\x07.nii" in error


def test_a_damaged_word_of_nifti_is_refused(scans, tmp_path):
    """ITK reads such a file as Analyze, without orientation and position."""
    content, path = bytearray((scans / "s.nii").read_bytes()), tmp_path / "s.nii"
    content[347] = 0x80
    path.write_bytes(content)
    with pytest.raises(UserError, match="NIfTI header is damaged"):
        load_scan(path)
