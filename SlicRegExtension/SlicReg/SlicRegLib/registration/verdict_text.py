"""The words of a verdict and how they are told: on the command line, in tables and pictures. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Word = Literal["good", "doubtful", "failed"]
GOOD: Word = "good"
WORDS: tuple[Word, ...] = (GOOD, "doubtful", "failed")
"""From best to worst."""


def describe_verdict(word: str, sentence: str) -> str:
    """Such as "Verdict: FAILED. The scans show different anatomy."; capitals mark what must be looked at."""
    return f"Verdict: {word if word == GOOD else word.upper()}. {sentence}"


def count_verdicts(words: Iterable[str | None]) -> dict[str, int]:
    """How often each of `WORDS` occurs, from best to worst; anything else is not counted."""
    found = list(words)
    return {word: found.count(word) for word in WORDS}


def describe_counts(counts: Mapping[str, int]) -> str:
    """Such as "2 good, 1 failed"; "none" if there are none."""
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "none"
