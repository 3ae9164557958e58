"""The command line's arguments, made by tyro from the request dataclasses."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from ..errors import UserError
from ..jobs.arguments import changed_arguments, write_arguments
from ..jobs.options import BatchRequest, CheckRequest
from ..option import Word, word_of
from ..registration.options import MODES, ModeOptions, RegistrationOptions
from ..results.options import CarryRequest, EvaluateRequest, FilmRequest, RegisterRequest, SegmentRequest
from ..teaching.options import PrepareRequest
from ..training.options import TrainRequest
from .requests import (
    DemoRequest,
    InfoRequest,
    JobRequest,
    LearnRequest,
    OutputOptions,
    RecipeRequest,
    ServeRequest,
)

REQUESTS: dict[str, type] = {
    "register": RegisterRequest,
    "segment": SegmentRequest,
    "batch": BatchRequest,
    "evaluate": EvaluateRequest,
    "carry": CarryRequest,
    "film": FilmRequest,
    "learn": LearnRequest,
    "job": JobRequest,
    "check": CheckRequest,
    "prepare": PrepareRequest,
    "train": TrainRequest,
    "info": InfoRequest,
    "demo": DemoRequest,
    "recipe": RecipeRequest,
    "serve": ServeRequest,
}
"""Commands and what each asks for."""
EPILOGUE = (
    "Results go to files, progress to stderr. Exit code 2 means that something you gave is wrong. `slicreg --version` "
    "prints the version."
)


class WrongWords(UserError):
    """Arguments that the command line does not take."""


def parse(arguments: list[str]) -> tuple[str, Any, OutputOptions]:
    """(command, its request, output options). Exits with code 2 and one sentence where the arguments are wrong."""
    try:
        return make_request(arguments)
    except WrongWords as error:
        print(f"slicreg: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def make_request(arguments: list[str]) -> tuple[str, Any, OutputOptions]:
    """As `parse`, but raises `WrongWords` where the arguments are wrong. Prints and exits only for ``--help``."""
    _refuse_empty_paths(arguments)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), _wide_lines({"-h", "--help"}.isdisjoint(arguments)):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _constructor(name, cls) for name, cls in REQUESTS.items()},
                prog="slicreg",
                description=f"Learned registration of 3-D CT scans by supervoxels (Slic-Reg). {EPILOGUE}",
                args=_spell_out_mode(arguments),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff, tyro.conf.DisallowNone),
                sort_subcommands=False,
            )
    except SystemExit as end:
        if end.code:
            raise WrongWords(_explain(arguments, printed.getvalue())) from end
        raise


def has_modes(cls: type) -> bool:
    """Whether a request is for registrations, so that its command takes `ModeOptions`."""
    return any(hint is RegistrationOptions for hint in get_type_hints(cls).values())


def _spell_out_mode(arguments: list[str]) -> list[str]:
    """The words with those of the mode that they name, except options that they give themselves."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--mode=") else [word])]
    command, mode = (words or [""])[0], [value for word, value in pairwise(words) if word == "--mode"][-1:]
    if command not in REQUESTS or not has_modes(REQUESTS[command]) or not mode or mode[0] not in MODES:
        return arguments
    given = {_name(word) for word in words if word.startswith("--")}
    spelled: list[str] = []
    for name, values in changed_arguments(write_arguments(MODES[mode[0]]), write_arguments(MODES["default"])).items():
        if name not in given:
            spelled += [f"--no-{name}"] if values == ["no"] else [f"--{name}", *values]
    return [command, *spelled, *words[1:]]


def _name(word: str) -> str:
    """ "--no-refine" and "--refine" -> "refine"; "--key_points=9" -> "key-points"."""
    return word.partition("=")[0].removeprefix("--").replace("_", "-").removeprefix("no-")


def _refuse_empty_paths(arguments: list[str]) -> None:
    """Raise `WrongWords` for a path that is an empty text: it would be the working directory."""
    command, option = (arguments or [""])[0], ""
    paths = _list_paths(REQUESTS[command]) if command in REQUESTS else set()
    for word in arguments[1:]:
        if word.startswith("-"):
            option, _, value = word.lstrip("-").replace("_", "-").partition("=")
            is_empty = "=" in word and not value
        else:
            is_empty = not word
        if is_empty and option in paths:
            name = f"--{option}" if option else "the path"
            raise WrongWords(f"The value of {name} is empty; give a file or folder.")


@cache
def _list_paths(cls: Any) -> set[str]:
    """Words of the options that are paths, without the dashes; "" for those without a word of their own."""
    found: set[str] = set()
    for name, hint in get_type_hints(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            found |= _list_paths(hint)
        elif hint is Path or Path in get_args(hint):
            word = word_of(cls, name)
            found.add("" if word.positional else (word.name or name).replace("_", "-"))
    return found


@contextlib.contextmanager
def _wide_lines(wanted: bool) -> Iterator[None]:
    """Where it is ``wanted``, tyro breaks no line: a message in its box is read word by word."""
    before = os.environ.get("COLUMNS")
    if wanted:
        os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if wanted and before is None:
            del os.environ["COLUMNS"]
        elif wanted and before is not None:
            os.environ["COLUMNS"] = before


def _constructor(name: str, cls: type) -> Callable[..., tuple[str, Any, OutputOptions]]:
    """A function from which tyro makes one command."""

    def construct(request: Any, output: OutputOptions) -> tuple[str, Any, OutputOptions]:
        return name, request, output

    construct.__doc__ = cls.__doc__

    def construct_with_mode(request: Any, mode: ModeOptions, output: OutputOptions) -> tuple[str, Any, OutputOptions]:
        return construct(request, output)  # `_spell_out_mode` has made options of it

    unnamed = tyro.conf.arg(name="")
    construct.__annotations__ = {
        "request": Annotated[_with_words(cls), unnamed],
        "output": Annotated[OutputOptions, unnamed],
    }
    construct_with_mode.__doc__ = cls.__doc__
    construct_with_mode.__annotations__ = {**construct.__annotations__, "mode": Annotated[ModeOptions, unnamed]}
    return construct_with_mode if has_modes(cls) else construct


@cache
def _with_words(cls: Any) -> Any:
    """The dataclass, with tyro's own metadata beside each `Word`: the options' modules must not import tyro."""
    hints = get_type_hints(cls, include_extras=True)
    for part in fields(cls):
        hint: Any = hints[part.name]
        if isinstance(hint, type) and is_dataclass(hint):
            _with_words(hint)
        word = word_of(cls, part.name)
        if word == Word():
            continue
        hint = Annotated[hint, tyro.conf.arg(name=word.name, metavar=word.metavar)]
        owner = next(c for c in cls.__mro__ if part.name in vars(c).get("__annotations__", {}))
        owner.__annotations__[part.name] = Annotated[hint, tyro.conf.Positional] if word.positional else hint
    return cls


def _explain(arguments: list[str], box: str) -> str:
    """One sentence about wrong arguments, from tyro's error box, and where to look."""
    command = arguments[0] if arguments else ""
    if command not in REQUESTS:
        wrong = f"There is no command {command!r}" if command and command[0] != "-" else "A command is needed first"
        return f"{wrong}; choose one of {', '.join(REQUESTS)}."
    lines = [line.strip("│ ") for line in box.splitlines() if line and line[0] == "│"]
    rule = next((n for n, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    message, rest = " ".join(lines[:rule]).replace("request.", ""), lines[rule + 1 :]
    described = next(
        (line for line in rest if re.match("--(?!help)", line)), ""
    )  # the flag in question, or a similar one
    look = f"; see `slicreg {command} --help`."
    if message.startswith("Missing from"):
        flags = ", ".join(line for line in lines[:rule] if re.match(r"-|[A-Z|{}]+$", line))
        return f"`{command}` also needs {flags}{look}"
    if message.startswith("Error parsing"):
        flag, _, values = described.partition(" ")
        return f"The value of {flag} must have the form {values}{look}"
    if "misplaced" in message:
        unknown = re.findall(r"(\S+) \(applied", message)
        return f"Unrecognized options: {', '.join(unknown)}{look}"
    if "nrecognized" in message and described:
        return f"{message}; did you mean {described.split()[0].rstrip(',')}?{look}"
    return re.sub(r"\s+", " ", message).rstrip(".") + look
