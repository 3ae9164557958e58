"""Model files: everything that a registration needs in one file, without pickle.

A zip of  bundle.json          version, network and frame options, template's SHA-256, provenance
          weights.safetensors  network weights, float16
          key_points.npz       optional: the template's key points, the features there, supervoxel centroids
          supervoxels.npz      template layers, uint8 (layers, I, J, K), and the affine of their grid
          template.npz         optional: the template's HU (int16), its labels (uint8/16) and affine
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
from ..images.files import MODEL_VERSION, atomic
from ..images.options import PreparationOptions
from ..images.volumes import Volume
from ..network.networks import SupervoxelNet, build
from ..network.options import NetworkOptions
from .key_points import KeyPoints
from .model_header import find_model


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    net: in evaluation mode, float32. preparation: the canonical frame, with its shape. layers: the template's
    supervoxels, uint8 (layers, I, J, K) on ``template_grid``, the template's canonical grid. template_sha256:
    `Volume.fingerprint` of the template. provenance: how the model was made. key_points: the template's for the default
    options, so that they need not be predicted for each registration. template, template_labels: only where the data
    may be shared.
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

    def network(self, device: torch.device) -> SupervoxelNet:
        """The network on ``device``: ``net`` itself where it is there already, else a copy."""
        own = next(self.net.parameters()).device
        if own.type == device.type and device.index in (None, own.index):
            return self.net
        return copy.deepcopy(self.net).to(device)

    def summary(self) -> dict[str, Any]:
        """The content of bundle.json, and whether the template and its labels are included; `slicreg info` shows it."""
        return {
            "version": MODEL_VERSION,
            "network": asdict(self.net.options),
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "preparation": asdict(self.preparation),
            "template_sha256": self.template_sha256,
            "template_included": self.template is not None,
            "template_labels_included": self.template_labels is not None,
            "provenance": self.provenance,
        }


def save_model(path: str | Path, model: Model) -> None:
    """Write a model file; atomic. Equal models give equal bytes. Weights and features are stored in float16."""
    about = {**model.summary(), "version": MODEL_VERSION}
    weights = {
        name: w.detach().cpu().to(torch.float16 if w.is_floating_point() else w.dtype).contiguous()
        for name, w in model.net.state_dict().items()
    }
    parts = {
        "bundle.json": json.dumps(about, indent=1).encode(),
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
    with atomic(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo without a date: reproducible bytes


def load_model(path: str | Path) -> Model:
    """Read a model. Raises UserError where it is missing, corrupt or written by a newer version."""
    path = find_model(path)
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("bundle.json"))
            version = about["version"]
            if version > MODEL_VERSION:
                raise UserError(
                    f"The model {path} was written by a newer SlicReg (format {version}, this one reads "
                    f"{MODEL_VERSION}); update SlicReg."
                )
            net = build(NetworkOptions(**{**about["network"], "widths": tuple(about["network"]["widths"])}))
            net.load_state_dict(
                {
                    k: v.float() if v.is_floating_point() else v
                    for k, v in load_tensors(archive.read("weights.safetensors")).items()
                }
            )
            net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # as documented by torch
            net.eval().requires_grad_(False)
            supervoxels = np.load(io.BytesIO(archive.read("supervoxels.npz")))
            layers, affine = supervoxels["layers"], supervoxels["affine"]
            preparation = PreparationOptions(**{**about["preparation"], "shape": tuple(about["preparation"]["shape"])})
            template, labels = _template(archive)
            return Model(
                net,
                preparation,
                layers,
                Grid(layers.shape[1:], affine),
                about["template_sha256"],
                about["provenance"],
                _key_points(archive),
                template,
                labels,
            )
    except UserError:
        raise
    except Exception as error:  # zip, JSON, tensors and arrays each raise errors of their own
        raise UserError(
            f"The model {path} is corrupt or not a SlicReg model ({type(error).__name__}); copy or download it again."
        ) from error


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _key_points(archive: zipfile.ZipFile) -> KeyPoints | None:
    if "key_points.npz" not in archive.namelist():
        return None
    content = np.load(io.BytesIO(archive.read("key_points.npz")))
    return KeyPoints(*(torch.from_numpy(content[name]) for name in ("points", "features", "centroids")))


def _template(archive: zipfile.ZipFile) -> tuple[Volume | None, Volume | None]:
    if "template.npz" not in archive.namelist():
        return None, None
    content = np.load(io.BytesIO(archive.read("template.npz")))
    grid = Grid(content["hu"].shape, content["affine"])
    labels = Volume(content["labels"], grid) if "labels" in content else None
    return Volume(content["hu"].astype(np.float32), grid), labels
