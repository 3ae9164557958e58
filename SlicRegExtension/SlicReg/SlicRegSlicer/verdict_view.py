"""The verdict of a registration: its word as a coloured field, with the sentence beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .translation import _

TEXTS = {"good": _("Good"), "doubtful": _("DOUBTFUL"), "failed": _("FAILED")}
"""One of `registration.verdict_text.WORDS` -> what users read, also those who cannot tell the colours apart."""

COLOURS = {"good": ("white", "#1b6e33"), "doubtful": ("black", "#ffb000"), "failed": ("white", "#b00020")}
"""(text, ground), which can be read on Slicer's light and dark panels."""
FIELD = "color: {text}; background-color: {ground}; font-weight: bold; padding: 4px 10px; border-radius: 4px"
STYLES = {word: FIELD.format(text=text, ground=ground) for word, (text, ground) in COLOURS.items()}


def describe_word(word: str | None) -> str:
    """What users read for a verdict's word; "" for None, as in results of older versions."""
    return TEXTS.get(word, word or "")


def show_verdict(ui, verdict: Mapping[str, Any] | None) -> None:
    """Show "verdict" of report.json; None clears it."""
    word, sentence = (verdict["word"], verdict["sentence"]) if verdict else (None, "")
    ui.verdictLabel.text = describe_word(word)
    ui.verdictLabel.styleSheet = STYLES.get(word, "")
    ui.verdictReasonLabel.text = sentence
