"""The pictures on the Training tab."""

from __future__ import annotations

from pathlib import Path

import qt

MARGIN = 28  # pixels beside a picture


class PictureLabel:
    """A label that shows a file, at most as wide as the panel, and reads it again only where it has changed."""

    def __init__(self, label, panel):
        """panel: the widget whose width limits the picture."""
        self.label, self.panel = label, panel
        self._shown: tuple | None = None

    def show(self, path: Path | None) -> None:
        """path: None shows nothing."""
        try:
            stamp = path and (path, path.stat().st_mtime_ns)
        except OSError:  # it was removed meanwhile
            path = stamp = None
        if stamp == self._shown:
            return
        self._shown = stamp
        pixmap = qt.QPixmap(str(path)) if path else qt.QPixmap()
        if pixmap.width() > (width := max(200, self.panel.width - MARGIN)):
            pixmap = pixmap.scaledToWidth(width, qt.Qt.SmoothTransformation)
        self.label.setPixmap(pixmap)
        self.label.visible = not pixmap.isNull()
