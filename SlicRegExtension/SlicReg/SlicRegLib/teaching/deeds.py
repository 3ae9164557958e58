"""The deeds teacher: runs ``linearBCV`` and ``deedsBCV``, or imports their results.

deeds registers arrays: it works in voxels (i, j, k) of the files it is given and ignores their geometry. With the
training scan as fixed and the template as moving, it samples the template at A v + d(v) for a scan voxel v:

    NAME_matrix.txt         4 x 4; column c holds row c of A, so that the translation is in the last row
    NAME_displacements.dat  float32: three blocks of control points, i fastest; the blocks are the displacement
                            along j, along i, along k (voxels). Control point c lies at voxel c * spacing.

NAME is that of the scan, or F02_38 for img0002 and the template img0038, as the paper's authors call them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.files import number_of, stem
from ..images.preparation import PreparedScan
from ..images.volumes import Volume, load_scan, save_volume
from .teachers import field_from_voxels

PROGRAMS = ("linearBCV", "deedsBCV")
HU_OFFSET = 1024
"""Added to HU, since deeds expects non-negative intensities; voxels outside the field of view are 0 in its warps."""


@dataclass(frozen=True)
class DeedsTeacher:
    """The deeds registration (Heinrich et al.).

    If ``folder`` contains ``NAME_matrix.txt`` and ``NAME_displacements.dat`` of a scan, they are imported; they must
    have been made from the original files, with the scan as fixed (-F) and the template as moving (-M). Otherwise the
    programs in ``folder`` run on the scans' canonical frames.
    """

    folder: Path
    template_path: Path
    arguments: tuple[str, ...] = ("-G", "5x4x3x3x2", "-L", "5x4x3x3x2", "-Q", "3x2x2x1x1")
    """Arguments of deedsBCV: half its default grids, for voxels of 4 mm."""
    name: str = "deeds"

    def __post_init__(self) -> None:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise UserError(f"The deeds folder {folder} does not exist; check --deeds-dir.")
        if not any(folder.glob("*_displacements.dat")) and not self._can_run():
            raise UserError(
                f"{folder} contains neither the programs {' and '.join(PROGRAMS)} nor results (*_matrix.txt, "
                "*_displacements.dat); check --deeds-dir."
            )

    def find_missing(self, scans: Sequence[str]) -> list[str]:
        """Names of the results that the folder lacks for these scans; none where it has the programs to make them.
        Matrices may be missing altogether, see `check_matrix`."""
        if self._can_run():
            return []
        prefixes = [find_results(Path(self.folder), scan, stem(self.template_path)) for scan in scans]
        ends = ("matrix.txt", "displacements.dat") if any(self.folder.glob("*_matrix.txt")) else ("displacements.dat",)
        files = [Path(f"{prefix}_{end}") for prefix in prefixes for end in ends]
        return [file.name for file in files if not file.is_file()]

    def _can_run(self) -> bool:
        return all((Path(self.folder) / program).is_file() for program in PROGRAMS)

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        prefix = find_results(Path(self.folder), stem(scan.path), stem(self.template_path))
        if Path(f"{prefix}_displacements.dat").is_file():
            check_matrix(prefix)
            return read_deeds(prefix, load_scan(scan.path).grid, load_scan(self.template_path).grid)
        if not self._can_run():
            raise UserError(
                f"{self.folder} contains no {prefix.name}_displacements.dat; add it, or the programs "
                f"{' and '.join(PROGRAMS)} to make it."
            )
        with tempfile.TemporaryDirectory() as work:
            return self._run(Path(work), scan, template)

    def _run(self, work: Path, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        for name, prepared in (("scan", scan), ("template", template)):
            positive = np.clip(prepared.hu.numpy() + HU_OFFSET, 0, None).astype(np.float32)
            save_volume(work / f"{name}.nii.gz", Volume(positive, prepared.grid))
        images = ["-F", str(work / "scan.nii.gz"), "-M", str(work / "template.nii.gz"), "-O", str(work / "result")]
        self._call("linearBCV", images)
        self._call("deedsBCV", [*images, "-A", str(work / "result_matrix.txt"), *self.arguments])
        return read_deeds(work / "result", scan.grid, template.grid)

    def _call(self, program: str, arguments: list[str]) -> None:
        path = (Path(self.folder) / program).resolve()
        try:
            done = subprocess.run(
                [str(path), *arguments], capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise UserError(f"{path} cannot be run ({error.strerror}); build deeds for this machine.") from error
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise UserError(f"{program} failed with exit code {done.returncode}: {last[0]}")


def find_results(folder: Path, scan: str, template: str) -> Path:
    """Beginning of the names of the files of deeds for a scan: that of the scan, or F02_38 with the numbers of scan and
    template, with any leading zeros; the first where there are no files. Raises UserError where both kinds are there.
    """
    own, numbers = folder / scan, (number_of(scan), number_of(template))
    found = [own] if Path(f"{own}_displacements.dat").is_file() else []
    if numbers[0] is not None and numbers[1] is not None:
        for path in sorted(folder.glob("F*_*_displacements.dat")):
            pair = re.fullmatch(r"F(\d+)_(\d+)", path.name.removesuffix("_displacements.dat"))
            if pair and tuple(map(int, pair.groups())) == numbers:
                found.append(folder / pair[0])
        if not found and any(folder.glob("F*_*_displacements.dat")):  # the folder's way of naming
            return folder / f"F{numbers[0]:02d}_{numbers[1]:02d}"
    if len(found) > 1:
        names = " and ".join(f"{path.name}_displacements.dat" for path in found)
        raise UserError(f"{folder} has several results of {scan}, {names}; keep one.")
    return found[0] if found else own


def check_matrix(prefix: Path) -> None:
    """Raise UserError where a scan's matrix is missing though others have one: without it, its displacements, which
    are relative to it, would be wrong. (Without any, deedsBCV ran alone.)"""
    path = Path(f"{prefix}_matrix.txt")
    if not path.is_file() and any(prefix.parent.glob("*_matrix.txt")):
        raise UserError(f"{path} does not exist, though other scans have theirs; copy it here or run linearBCV again.")


def read_deeds(prefix: Path, scan: Grid, template: Grid) -> DisplacementField:
    """Import ``PREFIX_matrix.txt`` (if missing: the identity) and ``PREFIX_displacements.dat``.

    scan, template: grids of the files that deeds registered (fixed and moving). The field lies on the control points
    and points from the scan to the template, RAS mm. Raises UserError for files that do not fit.
    """
    matrix = np.eye(4)
    matrix_path = Path(f"{prefix}_matrix.txt")
    if matrix_path.is_file():
        try:
            matrix = np.loadtxt(matrix_path).reshape(4, 4).T
            if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-3):
                raise ValueError("the last column must be 0 0 0 1")
        except ValueError as error:
            raise UserError(
                f"{matrix_path} is not a deeds matrix of 4 x 4 numbers; run linearBCV again or delete it."
            ) from error
    path = Path(f"{prefix}_displacements.dat")
    if not path.is_file():
        raise UserError(f"{path} does not exist; run deedsBCV again.")
    values = np.fromfile(path, np.float32)
    spacing, shape = infer_control_grid(values.size, scan.shape, path)
    along_j, along_i, along_k = values.reshape(3, *shape[::-1]).transpose(0, 3, 2, 1).astype(np.float64)
    affine = scan.affine.copy()
    affine[:3, :3] *= spacing
    return field_from_voxels(np.stack([along_i, along_j, along_k], -1), scan, template, matrix, Grid(shape, affine))


def infer_control_grid(count: int, shape: tuple[int, int, int], path: Path) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Spacing in voxels along i, j, k and shape of the control grid in the file ``path``.

    count: floats in the file. shape: of the scan. deeds divides each size by the same whole step, rounds down and
    stretches the control grid over the scan.
    """
    step = int((np.prod(shape) / max(1, count / 3)) ** 0.334)
    for guess in (step, step + 1, step - 1):
        if guess < 1:
            continue
        control = (shape[0] // guess, shape[1] // guess, shape[2] // guess)
        if 3 * np.prod(control) == count and count:
            return np.array(shape) / np.array(control), control
    raise UserError(
        f"{path} contains {count} numbers, which fit no control grid of a scan of shape {shape}; "
        "make it again from this scan."
    )
