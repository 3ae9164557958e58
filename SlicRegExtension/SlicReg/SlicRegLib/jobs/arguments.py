"""Command lines made from requests: the reverse of `SlicRegLib.cli.parser`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ..option import flag_of


def write_arguments(request: Any) -> list[str]:
    """The words after the command's name from which `slicreg` makes an equal request.

    request: a dataclass instance; nested dataclasses are included. Fields that are None or "" are left out, since that
    is also their default. All others are written even where they equal it, so that a logged command line names
    every option.
    """
    words: list[str] = []
    for field in fields(request):
        value, flag = getattr(request, field.name), flag_of(type(request), field.name)
        if is_dataclass(value):
            words += write_arguments(value)
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, (list, tuple)):
            words += [flag, *map(str, value)]
        elif value is not None and value != "":
            words += [flag, str(value)]
    return words


def changed_arguments(words: Sequence[str], defaults: Sequence[str]) -> dict[str, list[str]]:
    """Option -> values of those that differ from the ``defaults``, both written as on the command line.

    So two command lines with the same effect are equal, whether or not they name the defaults.
    """
    usual = _by_option(defaults)
    return {option: values for option, values in sorted(_by_option(words).items()) if usual.get(option) != values}


def _by_option(words: Sequence[str]) -> dict[str, list[str]]:
    """Option, without dashes, -> its values; "no" for a negated flag, nothing for a flag."""
    options: dict[str, list[str]] = {}
    values: list[str] = []  # what comes before the first option belongs to none
    for word in words:
        if word.startswith("--no-"):
            values = options[word.removeprefix("--no-")] = ["no"]
        elif word.startswith("--"):
            values = options[word.removeprefix("--")] = []
        else:
            values.append(word)
    return options
