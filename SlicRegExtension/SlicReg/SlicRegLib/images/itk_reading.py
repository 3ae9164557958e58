"""NRRD, MHA and all other formats that SimpleITK reads, with their geometry as ITK gives it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from .checksum import check_compressed
from .itk import DETACHED, quiet, read_affine
from .source import ImageSource, check_content, check_shape

PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".lsm")
"""Formats that hold no position or orientation of a patient."""
UNORIENTED = (".vtk", ".gipl", ".gipl.gz")
MM = ("mm", "millimeter", "millimeters", "millimetre", "")
NO_SPACE = "NRRD_space"


def open_itk(path: Path) -> ImageSource:
    """Raises UserError for images that are not scalar or have no geometry, RuntimeError where SimpleITK cannot read."""
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        _check_meta_header(path)
    _check_data_file(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet():
        reader.ReadImageInformation()
    size, kind = reader.GetSize(), sitk.GetPixelIDValueAsString(reader.GetPixelID())
    shape = tuple(int(n) for n in size)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    layers, is_segmentation = reader.GetNumberOfComponents(), reader.HasMetaDataKey("Segment0_ID")
    if is_segmentation and layers > 1:
        raise UserError(
            f"{path} is a segmentation with {layers} layers of overlapping segments; export them as a label map "
            "without overlap."
        )
    if "complex" in kind:
        raise UserError(f"{path} holds complex voxels; choose a CT scan.")
    if layers > 1:
        raise UserError(f"{path} holds {layers} components per voxel; choose a file with one value per voxel.")
    check_shape(path, shape)
    if name.endswith(PICTURES):
        raise UserError(f"{path} is a picture format without the patient's geometry; give a NIfTI, NRRD or MHA file.")
    if min(reader.GetSpacing()[:3]) <= 0:
        raise UserError(f"{path} has no valid voxel-to-world matrix (a voxel size is not positive); correct it.")
    bits = re.search(r"(\d+)-bit", kind)
    declared = int(np.prod(size, dtype=object)) * (int(bits.group(1)) // 8 if bits else 1)
    if not name.endswith(DETACHED):
        check_content(path, declared, path.stat().st_size, compressed=True)

    def load() -> np.ndarray:
        check_compressed(path, declared)
        with quiet():
            image = reader.Execute()
        return sitk.GetArrayFromImage(image).reshape(shape[::-1]).transpose(2, 1, 0)

    source_kind = "segmentation" if is_segmentation else "image"
    return ImageSource(shape, read_affine(reader), load, _describe_header(path, name, reader), source_kind)


def _check_meta_header(path: Path) -> None:
    """Raise UserError for a MetaImage header whose numbers would end the process in ITK's own reader."""
    with path.open("rb") as file:
        header = file.read(1 << 16).split(b"ElementDataFile", 1)[0]
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(b"=") for line in header.split(b"\n"))}
    dimensions = fields.get(b"NDims", b"")
    if not re.fullmatch(rb"[1-9]", dimensions):
        raise UserError(f"{path} cannot be read as an image (its header has no valid NDims); copy or export it again.")
    for key in (b"DimSize", b"ElementSpacing", b"ElementSize", b"Offset", b"Position", b"Origin"):
        if key in fields and len(fields[key].split()) != int(dimensions):
            raise UserError(
                f"{path} cannot be read as an image (the numbers in {key.decode()} of its header are "
                f"{len(fields[key].split())}, not {int(dimensions)}); copy or export it again."
            )


def _check_data_file(path: Path) -> None:
    """Raise UserError for a header whose voxels are to come from a device or a pipe, which never ends."""
    with path.open("rb") as file:
        found = re.search(rb"^(?:ElementDataFile *=|data ?file:)\s*(.*?)\s*$", file.read(1 << 16), re.MULTILINE | re.I)
    data_path = path.parent / os.fsdecode(found.group(1).replace(b"\0", b"")) if found else path
    if data_path.exists() and not (data_path.is_file() or data_path.is_dir()):
        raise UserError(f"{path} names {data_path} as the file of its voxels, a device or a pipe; copy both files.")


def _describe_header(path: Path, name: str, reader: sitk.ImageFileReader) -> tuple[str, ...]:
    """Notes about a geometry that is incomplete. Raises UserError for NRRD units that ITK would take for mm."""
    assumed = "as in ITK and Slicer, its axes are taken to run to the patient's left, posterior and superior"
    if name.endswith((".nrrd", ".nhdr")):
        with path.open("rb") as file:
            header = re.split(rb"\r?\n\r?\n", file.read(1 << 16), maxsplit=1)[0]
        found = re.search(rb"^(?:space )?units:(.*)$", header, re.MULTILINE)
        units = re.findall(r'"([^"]*)"', found.group(1).decode("latin-1")) if found else []
        if wrong := [unit for unit in units[:3] if unit.strip().lower() not in MM]:
            raise UserError(
                f"{path} has a geometry in {wrong[0]}, which ITK and Slicer take for mm; convert its spacing to mm."
            )
        if not reader.HasMetaDataKey(NO_SPACE) and b"space directions:" not in header:
            return (f"{path} stores no anatomical orientation; {assumed}.",)
    if name.endswith(UNORIENTED):
        return (f"{path} is in a format without orientation; {assumed}.",)
    return ()
