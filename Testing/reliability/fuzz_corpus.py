"""Small valid files of every kind that the commands read, made once in a folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from atlas_samples import atlas_model, count_tiny_labels
from tiny import CentreTeacher, tiny_model, tiny_study, write_cohort


def make_corpus(folder: Path) -> None:
    """Write the cohort, the model, the study, a finished job, a batch and the target in every format."""
    from SlicRegLib.cli.main import main
    from SlicRegLib.network.prediction import describe, encode
    from SlicRegLib.registration.key_points import describe_key_points
    from SlicRegLib.registration.model import save_model

    cohort = write_cohort(folder, 2)
    study = tiny_study(folder)
    fixed, net = study.template(), tiny_model(study).net
    points = describe_key_points(describe(net, encode(net, fixed)), fixed.body, fixed.grid)
    from SlicRegLib.images.volumes import load_labels, load_scan

    template = load_scan(cohort / "template.nii.gz")
    labels = load_labels(cohort / "template_label.nii.gz", template)
    save_model(folder / "tiny.slicreg", tiny_model(study, key_points=points, template=template, template_labels=labels))
    consensus = count_tiny_labels(study).consensus()
    save_model(folder / "average.slicreg", atlas_model(study, consensus=consensus))
    (folder / "names.csv").write_text("value;name;r;g;b\n1;Left lung;1;2;3\n6;Body;;;\n", encoding="utf-8-sig")
    write_formats(cohort / "img" / "pt_1.nii.gz", folder / "formats")
    write_formats(cohort / "label" / "pt_1.nii.gz", folder / "labels")
    (folder / "list.csv").write_text(f"path\n{cohort / 'img' / 'pt_1.nii.gz'}\n{cohort / 'img' / 'pt_2.nii.gz'}\n")
    for words in (
        ["train", "--study", study.folder, "--out", folder / "trained" / "m.slicreg", "--iterations", "2"],
        ["learn", "--template", cohort / "template.nii.gz", "--images", cohort / "img", "--out", folder / "job",
         "--name", "m", "--iterations", "2", "--spacing", "8", "--shape", "48", "32", "48", "--jobs", "1"],
        ["batch", "--model", folder / "tiny.slicreg", "--template", cohort / "template.nii.gz", "--images",
         folder / "list.csv", "--out", folder / "batch", *FEW],
    ):  # fmt: skip
        code = main([*map(str, words), "--device", "cpu", "--json"])
        assert code == 0, words


FEW = ("--no-refine", "--key-points", "200", "--iterations", "20")
"""Options of a short registration."""


def write_formats(path: Path, folder: Path) -> None:
    """The same image in every format, each in a folder of its own with all its files."""
    image, plain = sitk.ReadImage(str(path)), nib.load(path)
    for key in image.GetMetaDataKeys():  # of NIfTI, which other formats do not have
        image.EraseMetaData(key)
    data, affine = np.asarray(plain.dataobj), plain.affine
    for name in ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / name / f"pt.{name}"), name in ("nii.gz", "mhd"))
    for name, kind in (("nii2", nib.Nifti2Image), ("pair", nib.Nifti1Pair)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        nib.save(kind(data, affine), folder / name / ("pt.nii" if name == "nii2" else "pt.hdr"))
    if folder.name == "formats":
        write_dicom(image, folder / "dicom" / "series")


def write_dicom(image: sitk.Image, folder: Path) -> None:
    """A CT series, one file for each slice."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    voxels, spacing, direction = sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetDirection()
    series = generate_uid(entropy_srcs=["series"])
    for k, slice_ in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"slice {k}"])
        one = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.Modality, one.PatientID, one.PatientName = "CT", "1", "A^B"
        one.StudyInstanceUID = one.FrameOfReferenceUID = one.SeriesInstanceUID = series
        one.InstanceNumber = k + 1
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.ImagePositionPatient = [f"{x:.6g}" for x in image.TransformIndexToPhysicalPoint((0, 0, k))]
        one.ImageOrientationPatient = [
            direction[0],
            direction[3],
            direction[6],
            direction[1],
            direction[4],
            direction[7],
        ]
        one.PixelSpacing, one.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        one.Rows, one.Columns = slice_.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        one.PixelData = (slice_.astype(np.int16) + 1024).tobytes()
        pydicom.dcmwrite(folder / f"{k:03}.dcm", one, enforce_file_format=True)


def make_small() -> None:
    """A cheap teacher, two layers, a tiny network as the compact preset, coarse pictures and inverse fields, and all in
    this process: as the tests do it."""
    from functools import partial

    import SlicRegLib.registration.result
    import SlicRegLib.workers
    from SlicRegLib.network.options import PRESETS
    from SlicRegLib.results import register_files
    from SlicRegLib.results.overview import draw_overview
    from SlicRegLib.teaching import create
    from SlicRegLib.teaching.options import SupervoxelOptions
    from tiny import NETWORK

    SlicRegLib.workers.IN_THIS_PROCESS = True
    SlicRegLib.registration.result.INVERSE_SPACING_MM = 24.0
    create.make_teacher = lambda *_: CentreTeacher()
    create.StudyPlan = partial(create.StudyPlan, supervoxels=SupervoxelOptions(layers=NETWORK.layers))
    PRESETS["compact"] = NETWORK
    register_files.draw_overview = partial(draw_overview, spacing_mm=16.0)
