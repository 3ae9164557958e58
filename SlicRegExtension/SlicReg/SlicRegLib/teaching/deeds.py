"""The deeds teacher: runs ``linearBCV`` and ``deedsBCV``, or imports results that they left.

deeds registers arrays: it works in voxels (i, j, k) of the files it is given and ignores their geometry. With the
training scan as fixed and the template as moving, it samples the template at A v + d(v) for a scan voxel v:

    NAME_matrix.txt         4 x 4; column c holds row c of A, so the translation stands in the last row
    NAME_displacements.dat  float32: three blocks of control points, i fastest; the blocks are the displacement
                            along j, along i, along k (voxels). Control point c lies at voxel c * spacing.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.files import stem
from ..images.preparation import PreparedScan
from ..images.volumes import Volume, load_scan, save_volume
from .teachers import field_from_voxels

PROGRAMS = ("linearBCV", "deedsBCV")
HU_OFFSET = 1024  # deeds takes non-negative intensities; out-of-view voxels of its warps are 0


@dataclass(frozen=True)
class DeedsTeacher:
    """Teacher that imports ``NAME_matrix.txt`` and ``NAME_displacements.dat`` of a scan from ``folder`` where they
    exist (made from the original files, on their own voxels), and otherwise runs the programs in ``folder`` on the
    scans' canonical frames."""

    folder: Path
    template_path: Path
    arguments: tuple[str, ...] = (
        "-G",
        "5x4x3x3x2",
        "-L",
        "5x4x3x3x2",
        "-Q",
        "3x2x2x1x1",
    )  # grids halved for 4 mm voxels
    name: str = "deeds"

    def __post_init__(self):
        folder = Path(self.folder)
        if not folder.is_dir():
            raise UserError(f"The deeds folder {folder} does not exist.")
        if not any(folder.glob("*_displacements.dat")) and not all((folder / p).is_file() for p in PROGRAMS):
            raise UserError(
                f"{folder} holds neither the programs {' and '.join(PROGRAMS)} nor results (*_matrix.txt, "
                "*_displacements.dat)."
            )

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        prefix = Path(self.folder) / stem(scan.path)
        if Path(f"{prefix}_displacements.dat").is_file():
            return read_deeds(prefix, load_scan(scan.path).grid, load_scan(self.template_path).grid)
        if not all((Path(self.folder) / p).is_file() for p in PROGRAMS):
            raise UserError(f"{self.folder} holds no {prefix.name}_displacements.dat and no programs to make it.")
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


def read_deeds(prefix: Path, scan: Grid, template: Grid) -> DisplacementField:
    """Import ``PREFIX_matrix.txt`` (identity where missing) and ``PREFIX_displacements.dat``.

    scan, template: grids of the files that deeds registered (fixed and moving). The field lies on the control points.
    """
    matrix = np.eye(4)
    matrix_path = Path(f"{prefix}_matrix.txt")
    if matrix_path.is_file():
        try:
            matrix = np.loadtxt(matrix_path).reshape(4, 4).T
        except ValueError as error:
            raise UserError(f"{matrix_path} is not a deeds matrix of 4 x 4 numbers.") from error
    path = Path(f"{prefix}_displacements.dat")
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    values = np.fromfile(path, np.float32)
    spacing, shape = control_points(values.size, scan.shape, path)
    along_j, along_i, along_k = values.reshape(3, *shape[::-1]).transpose(0, 3, 2, 1).astype(np.float64)
    affine = scan.affine.copy()
    affine[:3, :3] *= spacing
    return field_from_voxels(np.stack([along_i, along_j, along_k], -1), scan, template, matrix, Grid(shape, affine))


def control_points(count: int, shape: tuple[int, int, int], path: Path) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Spacing in voxels along i, j, k and shape of the control grid of a file of ``count`` floats for a scan of ``shape``.

    deeds divides each size by a whole step, rounds down and stretches the control grid over the scan.
    """
    step = int((np.prod(shape) / max(1, count / 3)) ** 0.334)
    for guess in (step, step + 1, step - 1):
        control = tuple(n // guess for n in shape) if guess > 0 else (0, 0, 0)
        if 3 * np.prod(control) == count and count:
            return np.array(shape) / np.array(control), control
    raise UserError(
        f"{path} holds {count} numbers, which fit no control grid of a scan of shape {shape}; "
        "was it made from another scan?"
    )
