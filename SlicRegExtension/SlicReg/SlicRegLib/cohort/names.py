"""Names of scans and organs, as they are shown."""

from __future__ import annotations

MAX_NAME = 200
"""Characters of an organ's name."""
_JOINERS = "\u200c\u200d"  # which some scripts need within words


def shorten(name: str, length: int) -> str:
    """At most ``length`` characters: begin and end of a longer name.

    Bytes that are not text become "?", since fonts cannot draw them.
    """
    name = name.encode("utf-8", "replace").decode()
    end = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - end]}…{name[-end:]}"


def tidy_name(text: str) -> str:
    """On one line, without what a terminal or a file would take for a command."""
    return " ".join("".join(c for c in " ".join(text.split()) if c.isprintable() or c in _JOINERS).split())
