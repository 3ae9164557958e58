"""The pages that are made from the code: tables of options, help of the commands, the public interface."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import SlicRegLib
from SlicRegLib.cli.parser import REQUESTS, has_modes, parse
from SlicRegLib.cli.requests import OutputOptions
from SlicRegLib.option import describe_options, flag_of, word_of
from SlicRegLib.registration.options import ModeOptions

LIBRARY = Path(SlicRegLib.__file__).parent
FOLDERS = ("registration", "network", "results", "images", "teaching", "training", "jobs", "cli")
"""Whose options come first; others follow."""


def option_classes() -> list[type]:
    """The option and request dataclasses of all files called options.py or requests.py, folder by folder."""
    paths = [*LIBRARY.glob("*/options.py"), *LIBRARY.glob("*/requests.py")]
    paths.sort(key=lambda path: (FOLDERS.index(path.parent.name) if path.parent.name in FOLDERS else 99, path))
    modules = [import_module(f"SlicRegLib.{path.parent.name}.{path.stem}") for path in paths]
    return [cls for module in modules for cls in sorted(_classes(module), key=lambda c: inspect.getsourcelines(c)[1])]


def _classes(module: Any) -> Iterator[type]:
    for _, cls in inspect.getmembers(module, dataclasses.is_dataclass):
        if cls.__module__ == module.__name__ and any(describe_options(cls).values()):
            yield cls


def commands_of(cls: type) -> list[str]:
    """The commands that take the options of ``cls``."""
    return [
        name
        for name, request in REQUESTS.items()
        if cls in _parts(request) or cls is OutputOptions or (cls is ModeOptions and has_modes(request))
    ]


def _parts(cls: type) -> set[type]:
    """A request, the classes that it inherits from, and those of its fields."""
    found = {part for part in cls.__mro__ if dataclasses.is_dataclass(part)}
    for hint in get_type_hints(cls).values():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found |= _parts(hint)
    return found


def options_page() -> str:
    """A table for each dataclass: option, word on the command line, type, default, meaning."""
    return "\n\n".join(_option_section(cls) for cls in option_classes())


def _option_section(cls: type) -> str:
    hints, texts, commands = get_type_hints(cls), describe_options(cls), commands_of(cls)
    rows = [
        f"| `{field.name}` | {_flag(cls, field.name, commands)} | {_type(hints[field.name])} | {_default(field)} | "
        f"{_cell(texts[field.name])} |"
        for field in dataclasses.fields(cls)
        if field.name in vars(cls).get("__annotations__", {}) and texts[field.name]
    ]
    bases = [f"`{base.__name__}`" for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    intro = [
        inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0],
        f"Also has the options of {', '.join(bases)}." if bases else "",
        f"Commands: {', '.join(f'`slicreg {name}`' for name in commands)}." if commands else "Python only.",
    ]
    head = ["| option | command line | type | default | meaning |", "|---|---|---|---|---|"]
    module = cls.__module__.removeprefix("SlicRegLib.")
    return "\n".join([f"## {cls.__name__}", "", f"`{module}`: {' '.join(filter(None, intro))}", "", *head, *rows])


def _flag(cls: type, name: str, commands: list[str]) -> str:
    if not commands:
        return ""
    return (word_of(cls, name).metavar or name) if word_of(cls, name).positional else f"`{flag_of(cls, name)}`"


def _type(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
    text = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)
    literal = re.fullmatch(r"Literal\[(.*)\]", text)
    return _cell(" or ".join(part.strip().strip("'") for part in literal[1].split(",")) if literal else text)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _cell(f"`{str(field.default) or '(none)'}`")
    if field.default_factory is dataclasses.MISSING:
        return "*required*"
    return "number of cores" if field.default_factory() == (os.cpu_count() or 1) else "see there"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def command_page() -> str:
    """The help of every command, as the terminal shows it."""
    return "\n\n".join(f"## slicreg {name}\n\n```text\n{help_of(name)}\n```" for name in REQUESTS)


def help_of(command: str) -> str:
    """What ``slicreg COMMAND --help`` prints, without colours and without the number of this machine's cores."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        parse([command, "--help"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
    text = re.sub(r"(each\s+core\.)\s+\(default:\s+\d+\)", r"\1", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def public_page() -> str:
    """The names of ``SlicRegLib.__all__``, each from where it is defined."""
    return "\n\n".join(
        f"::: SlicRegLib.{module}.{name}\n    options:\n      heading_level: 2"
        for name, module in SlicRegLib._PUBLIC.items()
    )
