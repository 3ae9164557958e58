"""The contact sheet: its order, its links, and names that HTML and addresses must not take literally."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from SlicRegLib.errors import UserError, WriteError
from SlicRegLib.results.contact_sheet import SheetRow, render_contact_sheet, write_contact_sheet


class Page(HTMLParser):
    """The links, pictures and headings of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.pictures, self.headings, self.tags, self._inside = [], [], [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.links += [found["href"]] if tag == "a" else []
        self.pictures += [found["src"]] if tag == "img" else []
        self._inside = tag == "h2" or (self._inside and tag == "a")
        self.headings += [""] if tag == "h2" else []

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "h2"

    def handle_data(self, data):
        if self._inside:
            self.headings[-1] += data


def test_the_worst_come_first():
    rows = [
        SheetRow(name="waits", state="waiting"),
        SheetRow(name="good, Dice .9", state="done", verdict="good", dice_after=0.9),
        SheetRow(name="good, Dice .4", state="done", verdict="good", dice_after=0.4),
        SheetRow(name="doubtful", state="done", verdict="doubtful", dice_after=0.95),
        SheetRow(name="good, no labels", state="done", verdict="good"),
        SheetRow(name="of an older version", state="done"),
        SheetRow(name="failed", state="done", verdict="failed"),
        SheetRow(name="not registered", state="failed", look="It is empty."),
        SheetRow(name="stopped", state="cancelled"),
    ]
    page = Page(render_contact_sheet(Path("nowhere"), "Sheet", rows))
    assert page.headings == [
        "not registered",
        "failed",
        "doubtful",
        "good, Dice .4",
        "good, Dice .9",
        "good, no labels",
        "of an older version",
        "stopped",
        "waits",
    ]
    assert "script" not in page.tags and not page.pictures


@pytest.mark.parametrize("name", ["pt_1", "a b#1?%41&x", "<b>Ä</b>", "'\""])
def test_links_lead_to_the_files_beside_the_page(tmp_path, name):
    (tmp_path / name.replace("/", "_")).mkdir()
    row = SheetRow(name=name.replace("/", "_"), state="done", verdict="good")
    (tmp_path / row.name / "overview.png").write_bytes(b"PNG")
    write_contact_sheet(tmp_path / "results.html", "A & B", [row])
    page = Page((tmp_path / "results.html").read_text(encoding="utf-8"))
    assert page.headings == [row.name] and "b" not in page.tags
    for link in (*page.pictures, *page.links):
        assert ":" not in link and "#" not in link and "?" not in link
        assert (tmp_path / unquote(link)).exists()
    assert len(page.pictures) == 1 and len(page.links) == 2


def test_an_earlier_picture_is_not_shown_for_a_scan_that_failed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "overview.png").touch()
    assert not Page(render_contact_sheet(tmp_path, "Sheet", [SheetRow(name="a", state="failed")])).pictures


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path):
    sheet = tmp_path / "results.html"
    sheet.mkdir()
    with pytest.raises(UserError, match="is a folder"):
        write_contact_sheet(sheet, "Sheet", [])
    with pytest.raises(WriteError):
        write_contact_sheet(tmp_path / "none" / "results.html", "Sheet", [])
