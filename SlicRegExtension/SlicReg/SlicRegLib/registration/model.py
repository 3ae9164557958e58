"""Model files: everything that a registration needs in one file, without pickle.

A zip of  bundle.json          version, network and frame options, template's SHA-256, provenance, SHA-256 of each part
          weights.safetensors  network weights, float16
          key_points.npz       optional: the template's key points, the features there, supervoxel centroids
          supervoxels.npz      template layers, uint8 (layers, I, J, K), and the affine of their grid
          template.npz         optional: the template's HU (int16), its labels (uint8/16) and affine
          atlas.npz            only where the template is a cohort's average (`atlas`)
          consensus.npz        optional: what the cohort's labels agree on (`consensus`), on the template
"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..errors import UserError
from ..geometry.grid import Grid
from ..images.archive import ArchiveError
from ..images.arrays import read_arrays, take, take_affine
from ..images.files import MODEL_VERSION, atomic
from ..images.json_reading import make_finite
from ..images.options import PreparationOptions
from ..images.volumes import Volume
from ..network.networks import SupervoxelNet, build
from ..network.options import NetworkOptions, PredictionOptions
from .atlas import Atlas, pack_atlas, unpack_atlas
from .consensus import Consensus, pack_consensus, unpack_consensus
from .installed_models import find_model
from .key_points import KeyPoints
from .model_parts import ABOUT, NewerModelError, make_sums, read_parts
from .organs import describe_organs


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    net: in evaluation mode, float32. preparation: the canonical frame, with its shape. layers: the template's
    supervoxels, uint8 (layers, I, J, K) on ``template_grid``, the template's canonical grid. template_sha256:
    `Volume.fingerprint` of the template. provenance: how the model was made. key_points: the template's for the default
    options, so that they need not be predicted for each registration. template, template_labels: only where the data
    may be shared. atlas: the template where it is a cohort's average. consensus: the cohort's labels on the template.
    """

    net: SupervoxelNet
    preparation: PreparationOptions
    layers: np.ndarray
    template_grid: Grid
    template_sha256: str
    provenance: dict[str, Any] = field(default_factory=dict)
    key_points: KeyPoints | None = None
    template: Volume | None = None
    template_labels: Volume | None = None
    atlas: Atlas | None = None
    consensus: Consensus | None = None
    _copies: dict[torch.device, SupervoxelNet] = field(default_factory=dict, init=False, repr=False)

    @property
    def own_template(self) -> Volume | None:
        """The template's image, where the model holds it."""
        return self.atlas.image if self.atlas else self.template

    def is_own(self, template: Volume) -> bool:
        """Whether it is the template that the model was trained with."""
        return template is self.own_template or template.fingerprint() == self.template_sha256

    def network(self, device: torch.device) -> SupervoxelNet:
        """The network on ``device``: ``net`` itself where it is there already, else a copy, which is kept."""
        own = next(self.net.parameters()).device
        if own.type == device.type and device.index in (None, own.index):
            return self.net
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(self.net).to(device)
        return self._copies[device]

    @property
    def _version(self) -> int:
        """The oldest format that can hold it."""
        if self.consensus and any(organ.correction for organ in self.consensus.organs):
            return MODEL_VERSION
        return 2 if self.atlas or self.consensus else 1

    def summary(self) -> dict[str, Any]:
        """The content of bundle.json, and whether the template and its labels are included; `slicreg info` shows it."""
        return {
            "version": self._version,
            "network": asdict(self.net.options),
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "preparation": asdict(self.preparation),
            "template_sha256": self.template_sha256,
            "template_included": self.own_template is not None,
            "template_labels_included": self.template_labels is not None,
            "atlas": {"scans": self.atlas.scans} if self.atlas else None,
            "organs": describe_organs(self.consensus.organs) if self.consensus else [],
            "provenance": self.provenance,
        }


def save_model(path: str | Path, model: Model) -> None:
    """Write a model file; atomic. Equal models give equal bytes. Weights and features are stored in float16."""
    about = make_finite(model.summary())
    weights = {
        name: w.detach().cpu().to(torch.float16 if w.is_floating_point() else w.dtype).contiguous()
        for name, w in model.net.state_dict().items()
    }
    parts = {
        "weights.safetensors": save_tensors(weights),
        "supervoxels.npz": _npz(layers=model.layers, affine=model.template_grid.affine),
    }
    if model.key_points is not None:
        parts["key_points.npz"] = _npz(
            points=model.key_points.points.cpu().numpy(),
            centroids=model.key_points.centroids.cpu().numpy(),
            features=model.key_points.features.cpu().numpy().astype(np.float16),
        )
    if model.template is not None:
        arrays = {"hu": np.round(model.template.data).astype(np.int16), "affine": model.template.grid.affine}
        if model.template_labels is not None:
            arrays["labels"] = model.template_labels.data
        parts["template.npz"] = _npz(**arrays)
    if model.atlas is not None:
        parts["atlas.npz"] = _npz(**pack_atlas(model.atlas))
    if model.consensus is not None:
        parts["consensus.npz"] = _npz(**pack_consensus(model.consensus))
    about = {**about, "sha256": make_sums(about, parts)}
    with atomic(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, content in {ABOUT: json.dumps(about, indent=1).encode(), **parts}.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo without a date: reproducible bytes


def load_model(path: str | Path) -> Model:
    """Read a model. Raises UserError where it is missing, corrupt or written by a newer version.

    Sizes, types and sums are checked before a network is made, and every number is finite.
    """
    path = find_model(path)
    try:
        about, parts = read_parts(path)
        options = NetworkOptions(**{**about["network"], "widths": tuple(about["network"]["widths"])})
        preparation = PreparationOptions(**{**about["preparation"], "shape": tuple(about["preparation"]["shape"])})
        arrays = read_arrays(parts["supervoxels.npz"], "layers", "affine")
        layers = take(arrays, "layers", "u1", (options.layers, *preparation.shape))  # type: ignore[misc]
        grid = Grid(layers.shape[1:], take_affine(arrays))
        if layers.max() >= options.classes or not np.allclose(grid.spacing, preparation.spacing_mm, rtol=1e-3):
            raise ArchiveError("its supervoxels do not belong to its network")
        template, labels = _template(parts.get("template.npz"))
        sha256, provenance = about["template_sha256"], about["provenance"]
        key_points = _key_points(parts.get("key_points.npz"), options)
        net = _network(parts["weights.safetensors"], options)
        return Model(
            net,
            preparation,
            layers,
            grid,
            str(sha256),
            provenance,
            key_points,
            template,
            labels,
            _atlas(parts.get("atlas.npz"), grid),
            _consensus(parts.get("consensus.npz"), about.get("organs"), grid),
        )
    except NewerModelError as error:
        raise UserError(f"The model {path} cannot be used: {error}") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # tensors, options and what is missing each raise errors of their own
        reason = str(error).rstrip(".") if isinstance(error, (ArchiveError, UserError)) else type(error).__name__
        raise UserError(
            f"The model {path} is corrupt or not a SlicReg model ({reason}); copy or download it again."
        ) from error


def _network(content: bytes, options: NetworkOptions) -> SupervoxelNet:
    """The network with the stored weights. Nothing is allocated for it before they are known to fit."""
    stored = load_tensors(content)
    with torch.device("meta"):
        net = build(options)
    wanted = net.state_dict()
    if stored.keys() != wanted.keys() or any(stored[name].shape != wanted[name].shape for name in wanted):
        raise ArchiveError("its weights do not fit its network")
    weights = {}
    for name, weight in stored.items():
        if weight.is_floating_point() != wanted[name].is_floating_point() or weight.is_complex():
            raise ArchiveError("its weights have a wrong type")
        weights[name] = weight.to(wanted[name].dtype)
        if not torch.isfinite(weights[name]).all():
            raise ArchiveError("its weights hold numbers that are not finite")
    net.load_state_dict(weights, assign=True)
    net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # as documented by torch
    return net.eval().requires_grad_(False)


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _key_points(content: bytes | None, options: NetworkOptions) -> KeyPoints | None:
    if content is None:
        return None
    arrays, channels = read_arrays(content), options.layers * PredictionOptions.buckets
    points = take(arrays, "points", "f4", (None, 3))
    features = take(arrays, "features", "f2", (len(points), channels))
    centroids = take(arrays, "centroids", "f8", (options.layers, options.classes, 4))
    return KeyPoints(*(torch.from_numpy(part.copy()) for part in (points, features, centroids)))


def _template(content: bytes | None) -> tuple[Volume | None, Volume | None]:
    if content is None:
        return None, None
    arrays = read_arrays(content, "hu", "affine", "labels")
    hu = take(arrays, "hu", "i2", (None, None, None))
    grid = Grid(hu.shape, take_affine(arrays))
    labels = Volume(take(arrays, "labels", "u1 u2", hu.shape), grid) if "labels" in arrays else None
    return Volume(hu.astype(np.float32), grid), labels


def _atlas(content: bytes | None, grid: Grid) -> Atlas | None:
    if content is None:
        return None
    atlas = unpack_atlas(read_arrays(content))
    if not atlas.grid.matches(grid):
        raise ArchiveError("its atlas lies elsewhere than its supervoxels")
    return atlas


def _consensus(content: bytes | None, organs: Any, grid: Grid) -> Consensus | None:
    if content is None:
        return None
    consensus = unpack_consensus(read_arrays(content), organs)
    if not (consensus.grid.matches(grid) or consensus.grid.matches(grid.halved())):
        raise ArchiveError("its organs lie elsewhere than its supervoxels")
    return consensus
