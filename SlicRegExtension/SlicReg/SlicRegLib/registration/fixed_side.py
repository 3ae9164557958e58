"""The fixed scan of a registration: prepared and described once for all scans that are registered to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from ..images.preparation import PreparedScan, call_scan, prepare_scan
from ..images.volumes import Volume
from ..network.options import STRIDE, PredictionOptions
from ..network.prediction import Description, EncodedScan, describe, describe_layers, encode, locate, predict_layers
from .atlas import Atlas
from .key_points import KeyPoints, describe_key_points
from .model import Model
from .options import AlignmentOptions, RefinementOptions, RegistrationOptions
from .refinement import ComparedScan


class FixedSide:
    """A template as ``model`` sees it. Each part is made at first use and kept.

    own: whether it is the model's own template, of which the model file has the supervoxels and the key points.
    """

    def __init__(
        self,
        model: Model,
        template: Volume,
        options: RegistrationOptions = RegistrationOptions(),
        device: torch.device = torch.device("cpu"),
    ):
        """options: of the registrations; their prediction, alignment's key points and seed count."""
        self.model, self.template, self.options, self.device = model, template, options, device
        self.own = model.is_own(template)
        self._compared: tuple[RefinementOptions, ComparedScan] | None = None

    @cached_property
    def scan(self) -> PreparedScan:
        """The template in its canonical frame."""
        if self._atlas:
            return self._atlas.scan
        with call_scan("template"):
            return prepare_scan(self.template, self.model.preparation)

    @cached_property
    def centroids(self) -> torch.Tensor:
        """(layers, classes, 4) of its supervoxels, as in `Description`."""
        if "key_points" in self.__dict__ or self._stored or self._published:
            return self.key_points.centroids
        return locate(self.model.network(self.device), self._encoded, self.options.prediction)

    @cached_property
    def key_points(self) -> KeyPoints:
        """Its key points: stored in the model for its own template and the default options, else predicted."""
        if self._stored:
            return self._stored.to(self.device)
        return describe_key_points(self._describe(), self.scan.body, self.scan.grid, self.options.alignment)

    def supervoxels(self) -> Callable[[], Volume]:
        """Makes the first layer of its supervoxels, uint8 on the network's output grid: the model's own for its
        template, else predicted, 0 outside the body. Holds no more of this object than that takes."""
        grid = self.scan.grid.strided(STRIDE)
        if self.own:
            layer = self.model.layers[0, ::STRIDE, ::STRIDE, ::STRIDE]
            return lambda: Volume(np.ascontiguousarray(layer), grid)
        net, encoded = self.model.network(self.device), self._encoded
        return lambda: Volume(predict_layers(net, encoded, layers=1)[0].numpy(), grid)

    def compared(self, options: RefinementOptions) -> ComparedScan:
        """As the refinement compares it."""
        if self._compared is None or self._compared[0] != options:
            if self._atlas:
                self._compared = options, self._atlas.compared(options, self.device)
            else:
                self._compared = options, ComparedScan.describe(self.scan, options, self.device)
        return self._compared[1]

    @cached_property
    def _encoded(self) -> EncodedScan:
        return encode(self.model.network(self.device), self.scan, self.options.prediction)

    @property
    def _atlas(self) -> Atlas | None:
        """The model's own template, where that is a cohort's average."""
        return self.model.atlas if self.own else None

    @property
    def _stored(self) -> KeyPoints | None:
        """The key points of the model file, if they are those of this template and these options."""
        default, prediction = AlignmentOptions(), self.options.prediction
        as_stored = replace(prediction, chunk=PredictionOptions.chunk) == PredictionOptions() and all(
            getattr(self.options.alignment, name) == getattr(default, name) for name in ("key_points", "seed")
        )
        return self.model.key_points if self.own and as_stored else None

    @property
    def _published(self) -> bool:
        """Whether the template is described by its own layers, as published."""
        return self.own and self.options.prediction.features == "labels"

    def _describe(self) -> Description:
        prediction = self.options.prediction
        if self._published:
            return describe_layers(self.model.layers, self.scan, prediction, self.device)
        return describe(self.model.network(self.device), self._encoded, prediction)
