"""What tests share: a cohort of phantoms, a study and a model small enough to make in seconds, and known fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.network.networks import SupervoxelNet, build
from SlicRegLib.network.options import NetworkOptions
from SlicRegLib.phantoms.phantom import PhantomOptions, make_phantom
from SlicRegLib.registration.model import Model
from SlicRegLib.teaching.create import StudyPlan, create_study
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.study import Study

PHANTOM = PhantomOptions(shape=(56, 48, 60), spacing_mm=7.0)
FRAME = PreparationOptions(spacing_mm=8.0, shape=(48, 32, 48))
NETWORK = NetworkOptions(kind="unet", layers=2, widths=(8, 16), hidden=16, stem=0)


@dataclass(frozen=True)
class CentreTeacher:
    """The cheapest teacher: moves the middle of the scan's frame to the middle of the template's."""

    name: str = "centre"

    def register(self, scan, template) -> DisplacementField:
        grid = scan.grid.pooled(16)
        shift = torch.tensor(template.grid.centre - scan.grid.centre, dtype=torch.float32)
        return DisplacementField(shift.view(3, 1, 1, 1).expand(3, *grid.shape).clone(), grid)


def phantom(seed: int) -> tuple[Volume, Volume]:
    """Scan and labels of a coarse phantom."""
    subject = make_phantom(seed, PHANTOM)
    grid = Grid(subject.image.shape, subject.affine)
    return Volume(subject.image, grid), Volume(subject.labels, grid)


def write_cohort(folder: Path, scans: int = 5) -> Path:
    """Write template.nii.gz, template_label.nii.gz, img/ and label/ with pt_1, pt_2, ... to ``folder``; returns it."""
    for kind in ("img", "label"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for seed in range(scans + 1):
        names = (f"img/pt_{seed}", f"label/pt_{seed}") if seed else ("template", "template_label")
        for name, volume in zip(names, phantom(seed), strict=True):
            if not (folder / f"{name}.nii.gz").exists():
                save_volume(folder / f"{name}.nii.gz", volume)
    return folder


def tiny_study(folder: Path) -> Study:
    """A study of five phantoms with two layers; made in ``folder`` once, then read from there."""
    cohort = write_cohort(folder)
    plan = StudyPlan(
        template_path=cohort / "template.nii.gz",
        images=cohort / "img",
        folder=folder / "study",
        teacher=CentreTeacher(),
        preparation=FRAME,
        supervoxels=SupervoxelOptions(layers=NETWORK.layers),
    )
    return create_study(plan)


def tiny_net(seed: int = 0) -> SupervoxelNet:
    """A network with random weights."""
    torch.manual_seed(seed)
    return build(NETWORK)


def tiny_model(study: Study, **changes) -> Model:
    """An untrained model of ``study``."""
    content = dict(
        net=tiny_net().eval(),
        preparation=study.preparation,
        layers=study.layers(),
        template_grid=study.template().grid,
        template_sha256=study.template_sha256,
        provenance={"cohort": "phantoms"},
    )
    return Model(**{**content, **changes})


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether both networks have equal parameters and buffers."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def wave(points: torch.Tensor, amplitude_mm: float = 10.0, period_mm: float = 300.0) -> torch.Tensor:
    """A smooth displacement (..., 3) mm at world points (..., 3): one slow wave per axis, without folds."""
    phase = 2 * np.pi / period_mm * points
    return amplitude_mm * torch.stack([phase[..., 1].sin(), phase[..., 2].cos(), (phase[..., 0] + 1).sin()], -1)


def field_of(grid: Grid, function: Callable[[torch.Tensor], torch.Tensor]) -> DisplacementField:
    """The field whose displacement at world points p (..., 3) is function(p)."""
    return DisplacementField(function(grid.points()).movedim(-1, 0).contiguous(), grid)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal random numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
