"""A picture of a registration by the network in training, after each validation."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from ..images.volumes import Volume
from ..network.networks import SupervoxelNet
from ..registration.model import Model
from ..registration.register import register
from ..results.overview import draw_overview
from ..teaching.study import Study
from .recorder import Recorder


class ValidationSnapshot:
    """Registers a held-out scan with the current network and draws the result to validation.png."""

    def __init__(self, folder: Path, study: Study, scan: str, device: torch.device, recorder: Recorder):
        """scan: the name of the scan in the study."""
        self.folder, self.study, self.scan, self.device, self.recorder = folder, study, scan, device, recorder

    def __call__(self, net: SupervoxelNet) -> None:
        template, (scan, _) = self.study.template(), self.study.scan(self.scan)
        model = Model(copy.deepcopy(net).eval(), self.study.preparation, self.study.layers(), template.grid, "")
        fixed, moving = (Volume(prepared.hu.numpy(), prepared.grid) for prepared in (template, scan))
        try:
            draw_overview(self.folder / "validation.png", register(model, fixed, moving, device=self.device))
        except Exception as error:  # an early network may fail, or memory run out: the training continues
            self.recorder.log(f"no picture of the validation: {type(error).__name__}: {error}")
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
