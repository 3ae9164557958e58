"""Whether a command dealt rightly with a damaged file."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz_kinds import Case


def compare(path: Path, undamaged: Path) -> None:
    """Raises AssertionError where SimpleITK reads the image elsewhere in the world, or other voxels.

    Where SimpleITK refuses it, the image must be the undamaged one, but for a hundredth of its voxels.
    """
    import numpy as np
    import SimpleITK as sitk

    from SlicRegLib.errors import UserError
    from SlicRegLib.images.volumes import load_scan

    try:
        scan = load_scan(path)
    except UserError:
        return  # one scan of a cohort, which was left out
    try:
        if path.is_dir() or path.suffix == ".dcm":
            path = path if path.is_dir() else path.parent
            image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
        else:
            image = sitk.ReadImage(str(path))
    except RuntimeError:
        image = _read_as_nifti_1(path) if "nii2" in path.parts else None
    if image is None:
        whole = load_scan(undamaged)
        assert scan.grid.shape == whole.grid.shape, "SimpleITK does not read it"
        assert np.allclose(scan.grid.affine, whole.grid.affine, atol=1e-3), "SimpleITK does not read it"
        assert np.mean(np.abs(scan.data - whole.data) > 1) < 0.01, "SimpleITK does not read it, and voxels differ"
        return
    if image.GetDimension() == 4:
        image = image[..., 0]
    flip = np.diag([-1.0, -1, 1])
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(scan.grid.shape) - 1)
    theirs = [flip @ image.TransformContinuousIndexToPhysicalPoint(c.astype(float).tolist()) for c in corners]
    distance = np.abs(scan.grid.to_world(corners.astype(float)) - theirs).max()
    assert tuple(image.GetSize()) == scan.grid.shape, f"SimpleITK reads {image.GetSize()}, not {scan.grid.shape}"
    assert distance < 0.1, f"{distance:.2f} mm from where SimpleITK has it"
    values = sitk.GetArrayFromImage(image).T.astype(np.float32)
    if not scan.notes:
        assert np.allclose(values, scan.data, atol=1.0), f"{np.mean(values != scan.data):.1%} of the voxels differ"


def _read_as_nifti_1(path: Path):
    """SimpleITK reads no NIfTI-2: the same fields in a header of NIfTI-1."""
    import nibabel as nib
    import SimpleITK as sitk

    second = nib.Nifti2Image.from_filename(path)
    header = nib.Nifti1Header()
    for name in header.template_dtype.names:
        if name in second.header.template_dtype.names and name not in ("sizeof_hdr", "magic", "vox_offset"):
            header[name] = second.header[name]
    nib.save(nib.Nifti1Image(second.dataobj.get_unscaled(), None, header), path.parent / "first.nii")
    image = sitk.ReadImage(str(path.parent / "first.nii"))
    (path.parent / "first.nii").unlink()
    return image


def judge(case: Case, code: int, printed: str, error: str, folder: Path) -> list[str]:
    """What is wrong with how a command ended."""
    problems = []
    for line in printed.splitlines():
        if case.words[0] not in ("info", "job") and not line.startswith("{") and code == 0:
            problems.append(f"on stdout: {line[:200]}")
    if "itk::" in error or "itk/Modules" in error.lower() or "HDF5-DIAG" in error:
        problems.append("words of C++ on stderr")
    if parts := [p.name for p in folder.rglob("*.slicreg-*")] + [p.name for p in folder.rglob(".*slicreg-part*")]:
        problems.append(f"unfinished files: {parts}")
    if code == 2:
        lines = error.splitlines()
        if len(lines) != 1 or not lines[0].startswith("slicreg: "):
            problems.append("not one sentence")
        elif not lines[0].isprintable() or len(lines[0]) > 1500:
            problems.append("a sentence that cannot be printed")
        if case.out and case.out.exists() and case.words[0] != "batch":
            problems.append(f"{case.out.name} is left")
    elif code == 0:
        problems += read_back(case, printed)
    else:
        problems.append(f"exit code {code}")
    return problems


def read_back(case: Case, printed: str) -> list[str]:
    """Problems of the results."""
    out = case.out
    try:
        match case.words[0]:
            case "register" if out:
                json.loads((out / "report.json").read_text(), parse_constant=float.fromhex)
                sizes = [path.stat().st_size for path in out.iterdir()]
                assert min(sizes) > 0 and len(sizes) >= 5
            case "info":
                json.loads(printed, parse_constant=float.fromhex)
            case "evaluate" if out:
                json.loads(out.read_text())
            case "prepare" if out:
                json.loads((out / "study.json").read_text())
            case "train":
                path = Path(str(case.words[case.words.index("--out") + 1]))
                assert path.stat().st_size > 1000
    except Exception as error:
        return [f"the result cannot be read: {type(error).__name__}: {error}"]
    return []
