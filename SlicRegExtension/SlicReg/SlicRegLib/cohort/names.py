"""Names of scans and organs in pictures."""

from __future__ import annotations


def shorten(name: str, length: int) -> str:
    """At most ``length`` characters: begin and end of a longer name.

    Bytes that are not text become "?", since fonts cannot draw them.
    """
    name = name.encode("utf-8", "replace").decode()
    end = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - end]}…{name[-end:]}"
