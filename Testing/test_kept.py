"""What one registration leaves for the next: only what would be read again as it was."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from SlicRegLib.cli.parser import make_request
from SlicRegLib.errors import UserError
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.registration import result
from SlicRegLib.registration.model import save_model
from SlicRegLib.results import register_files as register_files_module
from SlicRegLib.results.kept import Kept
from SlicRegLib.results.register_files import register_files
from tiny import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture
def scans(cohort, tmp_path):
    for name in ("template", "template_label"):
        shutil.copyfile(cohort / f"{name}.nii.gz", tmp_path / f"{name}.nii.gz")
    return tmp_path


def test_a_registration_with_what_was_kept_is_that_of_a_cold_one(cohort, model, tmp_path, monkeypatch):
    monkeypatch.setattr(register_files_module, "draw_overview", lambda path, *rest, **more: path.touch())  # slow
    monkeypatch.setattr(result, "INVERSE_SPACING_MM", 12.0)
    save_model(tmp_path / "tiny.slicreg", model)
    options = (
        "--overlays --device cpu --key-points 200 --iterations 5 --coarse-iterations 4 --fine-iterations 4".split()
    )

    def register(scan: str, folder: str, kept: Kept | None) -> None:
        files = {
            "model": tmp_path / "tiny.slicreg",
            "template": cohort / "template.nii.gz",
            "template-label": cohort / "template_label.nii.gz",
            "target": cohort / "img" / f"{scan}.nii.gz",
            "target-label": cohort / "label" / f"{scan}.nii.gz",
            "out": tmp_path / folder,
        }
        words = [str(part) for name, value in files.items() for part in (f"--{name}", value)]
        register_files(make_request(["register", *words, *options])[1], kept=kept)

    kept = Kept()
    register("pt_2", "before", kept)
    register("pt_1", "warm", kept)
    register("pt_1", "cold", None)
    names = sorted(file.name for file in (tmp_path / "cold").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "warm").iterdir()) and len(names) > 6
    for name in names:
        one, other = (tmp_path / folder / name for folder in ("cold", "warm"))
        if name.startswith("transform"):
            one, other = load_transform(one), load_transform(other)
            assert (one.vectors == other.vectors).all() and np.allclose(one.grid.affine, other.grid.affine, 1e-12, 1e-9)
        elif name != "report.json":  # which holds seconds
            assert one.read_bytes() == other.read_bytes(), name


def test_the_same_content_is_read_once_under_any_name(scans, model):
    kept = Kept()
    template = kept.load_template(scans / "template.nii.gz")
    shutil.copyfile(scans / "template.nii.gz", scans / "other.nii.gz")
    assert kept.load_template(scans / "other.nii.gz") is template
    for name in ("a.slicreg", "b.slicreg"):
        save_model(scans / name, model)
    shutil.copyfile(scans / "a.slicreg", scans / "b.slicreg")
    assert kept.load_model(scans / "a.slicreg") is kept.load_model(scans / "b.slicreg")
    kept.clear()
    assert kept.load_template(scans / "template.nii.gz") is not template


def test_a_file_that_was_changed_in_place_is_read_again(scans):
    kept, path = Kept(), scans / "template.nii.gz"
    before = kept.load_template(path)
    image = nib.load(path)
    voxels = np.asarray(image.dataobj) + 7
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    after = kept.load_template(path)
    assert after is kept.load_template(path) is not before
    assert np.allclose(np.asarray(after.data), np.asarray(before.data) + 7, atol=1.0)


def test_labels_belong_to_their_template(scans):
    kept, path = Kept(), scans / "template_label.nii.gz"
    template = kept.load_template(scans / "template.nii.gz")
    labels = kept.load_template_labels(path, template)
    assert kept.load_template_labels(path, template) is labels
    image = nib.load(scans / "template.nii.gz")
    moved = image.affine + np.array([[0, 0, 0, 40.0], *[[0.0] * 4] * 3])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), scans / "moved.nii.gz")
    with pytest.raises(UserError, match="template_label"):  # they are not on its grid
        kept.load_template_labels(path, kept.load_template(scans / "moved.nii.gz"))


def test_a_scan_with_notes_is_read_each_time_since_they_name_it(scans):
    kept, voxels = Kept(), np.asarray(nib.load(scans / "template.nii.gz").dataobj)
    image = nib.Nifti1Image(voxels, None)
    image.header.set_zooms((7, 7, 7))
    for name in ("one", "other"):
        nib.save(image, scans / f"{name}.nii.gz")
        assert name in " ".join(kept.load_template(scans / f"{name}.nii.gz").notes)


@pytest.mark.parametrize("suffix, key", [("mha", b"ElementDataFile = "), ("nrrd", b"data file: "), ("mhd", None)])
def test_voxels_in_another_file_are_read_each_time(scans, suffix, key):
    """Their header does not change with them."""
    image, header, kept = sitk.ReadImage(str(scans / "template.nii.gz")), scans / f"detached.{suffix}", Kept()
    written = header.with_suffix(".nhdr" if suffix == "nrrd" else ".mhd")
    sitk.WriteImage(image, str(written), useCompression=False)
    written.rename(header)
    assert not key or key in header.read_bytes()
    before = kept.load_template(header)
    data = header.with_suffix(".raw")
    content = np.fromfile(data, sitk.GetArrayFromImage(image).dtype)
    (content + content.dtype.type(7)).tofile(data)
    after = kept.load_template(header)
    assert float(np.asarray(after.data).mean()) == pytest.approx(float(np.asarray(before.data).mean()) + 7, abs=0.5)


def test_a_header_with_its_own_voxels_is_kept(scans):
    kept, image = Kept(), sitk.ReadImage(str(scans / "template.nii.gz"))
    for suffix in ("mha", "nrrd"):
        sitk.WriteImage(image, str(scans / f"whole.{suffix}"))
        assert kept.load_template(scans / f"whole.{suffix}") is kept.load_template(scans / f"whole.{suffix}")
