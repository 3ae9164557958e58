"""report.html: how good a model is and how it was made, in one file without scripts, links or network access."""

from __future__ import annotations

import base64
from pathlib import Path

from ...images.files import atomic
from . import figures, tables, words
from .content import ReportContent

FOLDER = Path(__file__).parent  # of report.html.jinja and report.css
LONG_TABLE = 12
"""Longer tables of single scans or validations are collapsed on screen. In print, all are open."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write ``content`` as an HTML file. If this fails, an earlier file stays as it was."""
    page = render_page(content)
    with atomic(path) as part:
        # A file name may hold bytes that are not UTF-8; Python keeps them as surrogates, which become "?" here.
        part.write_bytes(page.encode("utf-8", "replace"))


def render_page(content: ReportContent) -> str:
    """The HTML text. Names with bytes that are not UTF-8 are in it as surrogates."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _encode_png
    template = environment.get_template("report.html.jinja")
    return template.render(content=content, words=words, tables=tables, figures=figures, long_table=LONG_TABLE)


def _encode_png(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
