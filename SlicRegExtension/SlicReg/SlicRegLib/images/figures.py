"""Pictures written by matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from .files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(path: str | Path, figure: Figure, dpi: int, background: str = "auto") -> None:
    """Write a figure as PNG; atomic. background: a colour; auto: the figure's own."""
    content = io.BytesIO()  # matplotlib would leave the file open after an error
    figure.savefig(content, dpi=dpi, format="png", facecolor=background)
    write_bytes(path, content.getbuffer())
