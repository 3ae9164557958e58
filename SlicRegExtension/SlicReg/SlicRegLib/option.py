"""Options are frozen dataclasses; this module reads what is written beside their fields.

Each field has an attribute docstring: meaning and unit. The command line's help, the panel's tool tips and the
documentation are made from it. `Range` says which numbers are allowed; `find_problems` checks them. `Word` says what a
field is called on the command line where its own name will not do.
"""

from __future__ import annotations

import ast
import inspect
import math
import numbers
import textwrap
import types
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Word:
    """How a field appears on the command line; metadata of its type: ``start: Annotated[str, Word("from")] = ""``."""

    name: str | None = None
    """Without the dashes; None: the field's name."""
    metavar: str | None = None
    """Stands for the value in the help; None: made from the type."""
    positional: bool = False
    """Whether the value is given without ``--name``."""


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value of a number; metadata of its type: ``batch: Annotated[int, Range(1, 64)]``.

    Every number of an option has one, so that none can ask for more memory than there is. NaN and infinities are never
    allowed.
    """

    low: float
    high: float

    def __str__(self) -> str:
        return f"{_number(self.low)} to {_number(self.high)}"


SEEDS = Range(0, 2**32 - 1)
"""What every random generator takes."""


def find_problems(options: Any) -> list[tuple[bool, str]]:
    """What is wrong with the values of a dataclass's fields, for `errors.refuse`: the type, or outside the `Range`.

    Numbers, texts, choices and tuples of these are checked; paths and nested dataclasses are not.
    """
    cls: Any = type(options)
    problems = []
    for name, hint in _hints(cls).items():
        if text := _problem(getattr(options, name), hint, None):
            problems.append((True, f"{(word_of(cls, name).name or name).replace('_', ' ')} {text}"))
    return problems


def describe_options(cls: type) -> dict[str, str]:
    """The attribute docstring of each field of a dataclass, inherited fields included; "" where there is none.

    A number's range is added as a sentence of its own.
    """
    texts: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                texts[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    ranges = {name: find_range(hint) for name, hint in _hints(cls).items()}
    return {
        field.name: text + (f" From {ranges[field.name]}." if ranges[field.name] and text else "")
        for field in fields(cls)
        for text in [texts.get(field.name, "")]
    }


def find_range(hint: Any) -> Range | None:
    """The `Range` in a field's type, also in that of an optional value or of the numbers of a tuple."""
    own = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Range)), None)
    return own or next((found for part in get_args(hint) if (found := find_range(part))), None)


def word_of(cls: type, name: str) -> Word:
    """The `Word` of a dataclass's field; an empty one where the field's own name serves."""
    hint = get_type_hints(cls, include_extras=True)[name]
    return next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Word)), Word())


def flag_of(cls: type, name: str) -> str:
    """The field's flag on the command line, such as ``--spacing``."""
    return "--" + (word_of(cls, name).name or name).replace("_", "-")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _problem(value: Any, hint: Any, allowed: Range | None) -> str:
    """What is wrong with a value of the type ``hint``; "" if nothing. allowed: the range around the type, if any."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = next((part for part in hint.__metadata__ if isinstance(part, Range)), None)
        return _problem(value, parts[0], own or allowed)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return ""
        return _problem(value, next(part for part in parts if part is not type(None)), allowed)
    if origin is Literal:
        return "" if value in parts else f"must be one of {', '.join(map(str, parts))} (got {_short(value)})"
    if origin is tuple:
        if not isinstance(value, (tuple, list)) or (parts[-1] is not Ellipsis and len(value) != len(parts)):
            count = "several" if parts[-1] is Ellipsis else f"{len(parts)}"
            return f"must be {count} numbers (got {_short(value)})"
        return next((text for one in value if (text := _problem(one, parts[0], allowed))), "")
    if hint is bool:
        return "" if isinstance(value, bool) else f"must be true or false (got {_short(value)})"
    if hint is str:
        return "" if isinstance(value, str) else f"must be a text (got {_short(value)})"
    if hint in (int, float):
        return _number_problem(value, hint, allowed)
    return ""


def _number_problem(value: Any, kind: type, allowed: Range | None) -> str:
    expected = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, expected):
        return f"must be a {'whole ' if kind is int else ''}number (got {_short(value)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number (got {value})"
    if allowed and not allowed.low <= value <= allowed.high:  # type: ignore[operator]
        return f"must lie between {_number(allowed.low)} and {_number(allowed.high)} (got {_short(value)})"
    return ""


def _short(value: Any) -> str:
    """The value in a message: not the thousand digits or letters that somebody gave."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a huge number"
    text = value if isinstance(value, str) else repr(value)
    text = ascii(text)[1:-1] if not text.isprintable() else text
    return text if len(text) <= 40 else f"{text[:40]}..."


def _number(value: float) -> str:
    """10000000 -> 10,000,000."""
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value:.15g}"
