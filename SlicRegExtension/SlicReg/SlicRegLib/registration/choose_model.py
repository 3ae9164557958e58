"""The choice of a model: which of the installed ones knows what two scans show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..images.volumes import Volume
from ..network.prediction import locate_layers
from ..progress import Progress, silent
from ..stages import CHOICE, MODEL, NEAREST
from .common_supervoxels import CommonSupervoxels
from .fixed_side import FixedSide
from .model import Model, load_model
from .model_header import AUTO, ModelHeader
from .moving_side import FirstView, MovingSide, turn_upright, view_target
from .options import RegistrationOptions
from .verdict import LONGER, SHORTER

KNOWN = 0.4
"""Share of its supervoxels that a model must find in both scans. How it was measured: docs/results.md and
``benchmarks/models.py``."""


class UnknownAnatomyError(UserError):
    """No model knows what the scans show. nearest: the name of the one that knows most of it."""

    def __init__(self, text: str, nearest: str):
        super().__init__(text)
        self.nearest = nearest


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model, and what it has made of both scans. share: of its supervoxels that it finds in both, 0 to 1."""

    header: ModelHeader
    fixed: FixedSide
    view: FirstView
    share: float

    @cached_property
    def moving(self) -> MovingSide:
        """The target as the registration needs it. Not made for a model that is not taken."""
        return turn_upright(self.fixed, self.view)

    @property
    def model(self) -> Model:
        return self.fixed.model


@dataclass(frozen=True, eq=False)
class Choice:
    """The model that was taken, and why. shares: that of each model by its name, the best first. where: in what they
    were looked for."""

    taken: Candidate
    shares: dict[str, float]
    where: str = "both scans"

    @property
    def sentence(self) -> str:
        """Such as "headneck-openkbp, since it finds 98 % of its supervoxels in both scans (trunk-phantom: 24 %)."."""
        (name, share), *others = self.shares.items()
        compared = ", ".join(f"{other}: {100 * less:.0f} %" for other, less in others)
        return f"{name}, since it finds {100 * share:.0f} % of its supervoxels in {self.where}" + (
            f" ({compared})." if compared else "."
        )

    def report(self) -> dict[str, Any]:
        """What report.json says of it."""
        return {"model_choice": {"taken": self.taken.header.name, "shares": self.shares, "reason": self.sentence}}


def choose_model(
    headers: Sequence[ModelHeader],
    template: Volume | None,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
    load: Callable[[Path], Model] = load_model,
    make_fixed: Callable[[Model, Volume], FixedSide] | None = None,
) -> Choice:
    """Take the model that finds most of its supervoxels in both scans; of equal ones the first.

    headers: models to choose from, as `list_models` gives them; those that cannot be read are passed over. template:
    None for each model's own, so that only models that hold theirs are compared, by the target alone. load, make_fixed:
    give the model of a file and its template's side, if those are kept. Raises `UnknownAnatomyError` where no model
    finds `KNOWN` of its supervoxels, UserError where there is no model, and for a scan without soft tissue or body.
    """
    best, shares = None, dict[str, float]()
    where = "both scans" if template else "the scan"
    if template is None:
        headers = [header for header in headers if header.holds_template]
    for index, header in enumerate(headers):
        name = header.name if header.name not in shares else str(header.path)
        progress(CHOICE, index / len(headers), name)
        try:
            model = load(header.path)
        except UserError:  # damaged, or of a newer version: the list of models says so
            continue
        if (shown := template or model.own_template) is None:
            continue
        fixed = make_fixed(model, shown) if make_fixed else FixedSide(model, shown, options, device)
        view = view_target(fixed, target)
        candidate = Candidate(header, fixed, view, known_share(fixed, view))
        shares[name] = round(candidate.share, 3)
        if best is None or candidate.share > best.share:
            best = candidate
    progress(CHOICE, 1.0, f"{len(shares)} compared")
    if best is None:
        which = "usable model" if template else "usable model with a template of its own"
        raise UserError(f"No {which} is installed from which --model {AUTO} could choose; give a model file.")
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    if best.share < KNOWN:
        nearest = best.header.name
        progress(NEAREST, 1.0, nearest)
        what = "that template and target show the same part of the body" if template else "what the scan shows"
        raise UnknownAnatomyError(
            f"No installed model knows the anatomy of {where}: {nearest} comes nearest, but finds only "
            f"{100 * best.share:.0f} % of its supervoxels there, where {100 * KNOWN:.0f} % are needed; check {what}, "
            f"or choose the model {nearest} yourself.",
            nearest,
        )
    choice = Choice(best, ordered, where)
    progress(MODEL, 1.0, choice.sentence)
    return choice


def known_share(fixed: FixedSide, view: FirstView) -> float:
    """The share, 0 to 1, of a model's supervoxels that both scans show where they lie in the model's own template.

    The smaller share of the two scans, each as it lies: turned and scaled until it fits, a leg looks much like a
    trunk. A scan that shows a part of the template is not blamed for the rest, see `CommonSupervoxels.found`. (Two
    scans of an anatomy that the model does not know have much in common with each other, but little with its template.)
    """
    own = _own_centroids(fixed.model, fixed.device)
    return min(_find_share(own, centroids) for centroids in (fixed.centroids, view.centroids))


def _find_share(own: torch.Tensor, scan: torch.Tensor) -> float:
    """`CommonSupervoxels.found`; 0 where the scan would be much wider or narrower than the model's template."""
    common = CommonSupervoxels(own, scan)
    right, front, _ = common.stretches
    return common.found if all(SHORTER[1] < stretch < LONGER[1] for stretch in (right, front)) else 0.0


def _own_centroids(model: Model, device: torch.device) -> torch.Tensor:
    """Of the supervoxels of the model's own template: as predicted there, or by its layers where that is not stored."""
    if model.key_points is not None:
        return model.key_points.centroids
    return locate_layers(model.layers, model.template_grid, model.net.options.classes, device)
