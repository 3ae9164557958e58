"""Studies of coarse phantoms that take a second, and a teacher with known faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.teaching.create import StudyPlan, create_study
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.study import Study
from tiny import NETWORK, CentreTeacher, write_cohort

FRAME = PreparationOptions(spacing_mm=12.0, shape=(32, 32, 32))
SCANS = ["pt_1", "pt_2", "pt_3", "pt_4"]


def coarse_cohort(folder: Path) -> Path:
    """template.nii.gz and img/ with the scans `SCANS`; made once, then found in ``folder``."""
    return write_cohort(folder / "coarse", len(SCANS))


def make_study(
    cohort: Path, folder: Path, teacher=CentreTeacher(), images: Path | Sequence[Path] | None = None, **more
) -> Study:
    plan = StudyPlan(
        template_path=cohort / "template.nii.gz",
        images=images or cohort / "img",
        folder=folder,
        teacher=teacher,
        preparation=FRAME,
        supervoxels=SupervoxelOptions(layers=NETWORK.layers),
    )
    return create_study(plan, **more)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def assert_same_study(a: Path, b: Path) -> None:
    """Both folders contain the same study, bit by bit but for the compression."""
    assert (a / "study.json").read_bytes() == (b / "study.json").read_bytes()
    files = sorted(p.relative_to(a) for p in a.rglob("*.npz"))
    assert files == sorted(p.relative_to(b) for p in b.rglob("*.npz")) and len(files) > 2
    for name in files:
        first, second = read_arrays(a / name), read_arrays(b / name)
        assert first.keys() == second.keys()
        for key in first:
            assert first[key].dtype == second[key].dtype
            np.testing.assert_array_equal(first[key], second[key], str(name))


@dataclass(frozen=True)
class MirrorTeacher(CentreTeacher):
    """Mirrors one scan, which folds all of it, and fails on another."""

    mirrored: str = "pt_2"
    failing: str = ""

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        if scan.name == self.failing:
            raise RuntimeError("no convergence")
        field = super().register(scan, template)
        if scan.name != self.mirrored:
            return field
        x = scan.grid.points()[..., 0] - float(scan.grid.centre[0])
        vectors = field.on(scan.grid).vectors.clone()
        vectors[0] -= 2 * x
        return DisplacementField(vectors, scan.grid)
