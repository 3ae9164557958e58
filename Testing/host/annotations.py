"""Annotations of parameters: the values that are allowed, the default, the look of a spin box.

Follows Slicer's ``Base/Python/slicer/parameterNodeWrapper/validators.py``, ``default.py`` and ``guiCreation.py``.
"""

from __future__ import annotations

import dataclasses


class Validator:
    """Base of the annotations that refuse values."""

    def validate(self, value) -> None:
        raise NotImplementedError


@dataclasses.dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclasses.dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclasses.dataclass
class Choice(Validator):
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclasses.dataclass
class Exclude(Validator):
    excludedValues: list

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


@dataclasses.dataclass
class Default:
    value: object


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


def find_annotation(annotations, kind):
    """The first annotation of a class, None without one."""
    return next((entry for entry in annotations if isinstance(entry, kind)), None)
