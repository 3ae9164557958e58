"""Options are frozen dataclasses; this module reads what is written beside their fields.

Each field has an attribute docstring: meaning, unit, range. The command line's help, the panel's tool tips and the
documentation are made from it. `Word` says what a field is called on the command line where its own name will not do.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import get_type_hints


@dataclass(frozen=True)
class Word:
    """How a field appears on the command line; metadata of its type: ``start: Annotated[str, Word("from")] = ""``."""

    name: str | None = None
    """Without the dashes; None: the field's name."""
    metavar: str | None = None
    """Stands for the value in the help; None: made from the type."""
    positional: bool = False
    """Whether the value is given without ``--name``."""


def describe_options(cls: type) -> dict[str, str]:
    """The attribute docstring of each field of a dataclass, inherited fields included; "" where there is none."""
    texts: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                texts[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return {field.name: texts.get(field.name, "") for field in fields(cls)}


def word_of(cls: type, name: str) -> Word:
    """The `Word` of a dataclass's field; an empty one where the field's own name serves."""
    hint = get_type_hints(cls, include_extras=True)[name]
    return next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Word)), Word())


def flag_of(cls: type, name: str) -> str:
    """The field's flag on the command line, such as ``--spacing``."""
    return "--" + (word_of(cls, name).name or name).replace("_", "-")
