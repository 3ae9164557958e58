"""The training's report: whole HTML whatever the names, every figure where it belongs, nothing loaded from elsewhere."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread
from tiny import FRAME, phantom

from SlicRegLib.geometry.field import identity_field
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.jobs.report import report
from SlicRegLib.jobs.report.report import ReportContent, hardware, validation_overlay, write_report
from SlicRegLib.registration.result import Registration
from SlicRegLib.results import overview

HOSTILE = "<b>&\"'$x_1$</b><script>alert(1)</script>"
VOID = {"meta", "img"}
SECTIONS = [
    "Summary",
    "Learning curve",
    "Registered scans",
    "Organ overlap",
    "Teacher",
    "Cohort",
    "Left out",
    "Time and hardware",
    "Configuration",
]


class Page(HTMLParser):
    """What stands in an HTML text; raises AssertionError where a tag is not closed in its turn."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.sources, self.anchors, self.tables, self.titles, self.words = (
            [],
            set(),
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.anchors += [value for key, value in attributes if key == "id"]
        self.sources += [
            value for key, value in attributes if key in ("src", "href", "srcset", "data", "action", "poster")
        ]
        assert not [key for key, _ in attributes if key.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag == "h2":
            self.titles.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] == "h2":
            self.titles[-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words)

    def pictures(self) -> list[np.ndarray]:
        coded = [source.removeprefix("data:image/png;base64,") for source in self.sources if not source.startswith("#")]
        return [imread(io.BytesIO(base64.b64decode(code, validate=True)), format="png") for code in coded]

    def table(self, *head: str) -> list[list[str]]:
        """The rows under the head that begins so."""
        return next(table[1:] for table in self.tables if table[0][: len(head)] == list(head))

    def row(self, name: str) -> list[str]:
        """The first row of any table that begins with ``name``."""
        return next(row for table in self.tables for row in table if row[0] == name)


def png(shade: float) -> bytes:
    figure, axes = report._figure(1, 1)
    axes.set_facecolor((shade, shade, shade))
    return report._png(figure)


def case(before: float, after: float, folding: float = 0.0) -> dict:
    """As `evaluation.compare` gives it: label 2 at the given Dice, label 10 at half of it and lost before registration."""

    def labels(dice, far):
        return {
            "dice": {"2": dice, "10": dice / 2},
            "mean_dice": 0.75 * dice,
            "hd95_mm": {"2": 10 * dice, "10": far},
            "mean_hd95_mm": 10 * dice,
        }

    return {
        "before": labels(before, None),
        "after": labels(after, 4.25) | {"folding_percent": folding},
        "left_out": [],
        "seconds": 4.0,
    }


def quality(before: float, after: float) -> dict:
    return {
        "similarity_before": before,
        "similarity_after": after,
        "folding_percent": 0.07,
        "stretch_low": 0.61,
        "stretch_high": 1.52,
        "mean_displacement_mm": 12.34,
    }


def scan(name: str, **changes) -> dict:
    return {
        "name": name,
        "shape": [512, 512, 90],
        "spacing_mm": [0.98, 0.98, 3.0],
        "orientation": "LPS",
        "extent_mm": [500.2, 500.2, 270.0],
        "body_extent_mm": [431.0, 250.0, 270.0],
        "body_ml": 14250.0,
        "mean_hu": -12.4,
        "problem": "",
        "unusual": [],
        "same_as": "",
    } | changes


def full() -> ReportContent:
    return ReportContent(
        name=HOSTILE,
        finished="2024-05-01 12:30",
        trained=["pt_1", "pt_2", HOSTILE],
        held_out=["pt_3", "pt_4"],
        left_out={"pt_5": "cannot be read <at all>"},
        curve=[(100, 61.5, 3.5, 4.125, 0.1234), (200, 123.0, 2.5, 2.25, 0.5), (300, 3725.0, 1.5, 1.875, 0.6543)],
        cohort=[
            scan("pt_1"),
            scan("pt_2", spacing_mm=[1.2, 1.2, 2.0]),
            scan("pt_3", orientation="SAL", shape=[90, 512, 400], spacing_mm=[2.5, 1.1, 1.0], same_as="pt_2"),
            scan("pt_4", unusual=["It is <b>upside down</b>.", "It is short."]),
            scan(HOSTILE),
            scan(
                "pt_5",
                shape=[],
                spacing_mm=[],
                orientation="",
                extent_mm=[],
                body_extent_mm=[],
                body_ml=0.0,
                mean_hu=0.0,
                problem="cannot be read <at all>",
            ),
        ],
        template=scan("pt_0", orientation="ASR"),
        unusual_picture=png(0.25),
        teacher={
            "pt_1": quality(0.4, 0.71),
            "pt_2": quality(0.5, 0.45),
            "pt_4": quality(0.35, 0.9),
            HOSTILE: quality(0.3, None),
        },
        overlays=[(HOSTILE, png(0.5)), ("pt_4", png(0.75))],
        dice={"pt_3": case(0.2, 0.8), "pt_1": case(0.4, 0.6, 0.125)},
        label_names={"10": HOSTILE},
        configuration={
            "template": HOSTILE,
            "iterations": 300,
            "spacing_mm": 4.0,
            "shape": [96, 80, 128],
            "affine_first": False,
            "start": None,
        },
        hardware={"processor": HOSTILE, "cores": 2, "memory_gb": 7.8, "gpu": "none"},
        seconds={"teacher": 75.0, "training": 3725.0},
        waiting_share=0.034,
        peak_memory_mb={"process": 1536.0, "gpu": 512.0},
        versions={"torch": "2.13.0"},
        provenance={"preset": "compact", "training": {"batch": 2}},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, full())
    return Page(path.read_text(encoding="utf-8"))


def rendered(content: ReportContent, folder) -> Page:
    write_report(folder / "report.html", content)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_all_sections_stand_in_order_and_are_linked(page):
    assert page.titles == SECTIONS
    links = [link for link in page.sources if link.startswith("#")]
    assert links == ["#" + title.lower().replace(" ", "-") for title in SECTIONS]
    assert links == [f"#{name}" for name in page.anchors]


def test_hostile_names_are_text_and_nothing_is_loaded(page, tmp_path):
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert page.text.count("alert(1)") == page.text.count(HOSTILE) == 8
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in page.sources)
    write_report(tmp_path / "report.html", full())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"http|//\w|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert text.startswith("<!DOCTYPE html>") and 'charset="utf-8"' in text


def test_the_pictures_are_whole(page):
    """Curve (2), overlays (2), Dice, teacher, unusual scans; those given are there unchanged."""
    assert f"{HOSTILE}, training" in page.text and "pt_4, held out" in page.text
    pictures = page.pictures()
    assert len(pictures) == 7 and all(picture.std() > 0 for picture in pictures)
    for position, shade in ((2, 0.5), (3, 0.75), (6, 0.25)):
        assert np.array_equal(pictures[position], imread(io.BytesIO(png(shade)), format="png"))


def test_the_figures_of_the_summary(page):
    for words in (
        "65.4 %validation accuracy; 12.3 % at iteration 100",
        "1.875validation loss; 4.125 at iteration 100",
        "3scans trained on; 2 held out, 1 left out",
        "0.525mean Dice of 2 labelled scans after registration; 0.225 before",
        "guessing gives 4.85",
        "Guessing gets 0.8 %",
        "2024-05-01 12:30",
    ):
        assert words in page.text, words


def test_the_learning_curve(page):
    assert page.table("iteration", "time") == [
        ["100", "1 min 2 s", "3.500", "4.125", "12.3 %"],
        ["200", "2 min 3 s", "2.500", "2.250", "50.0 %"],
        ["300", "1 h 2 min", "1.500", "1.875", "65.4 %"],
    ]


def test_dice_per_label_and_scan(page):
    """Labels by number, not by text: 2 before 10. A distance that is nowhere defined is a dash."""
    assert page.table("label") == [
        ["label 2", "2", "0.300", "0.700", "+0.400", "3.0", "7.0"],
        [HOSTILE, "2", "0.150", "0.350", "+0.200", "–", "4.2"],
    ]
    assert page.table("scan", "trained on") == [
        ["pt_3", "no", "0.150", "0.600", "2.0", "8.0", "0.00"],
        ["pt_1", "yes", "0.300", "0.450", "4.0", "6.0", "0.12"],
    ]
    assert "on 2 scans with those" in page.text and "Scans not trained on: 1." in page.text


def test_a_label_of_some_scans_counts_those(tmp_path):
    one, other = case(0.2, 0.8), case(0.4, 0.6)
    for when in ("before", "after"):
        del other[when]["dice"]["10"], other[when]["hd95_mm"]["10"]
    assert rendered(ReportContent("m", dice={"a": one, "b": other}), tmp_path).row("label 10")[1:4] == [
        "1",
        "0.100",
        "0.400",
    ]


def test_the_teacher_worst_first(page):
    rows = page.table("scan", "similarity before")
    assert [row[0] for row in rows] == [HOSTILE, "pt_2", "pt_1", "pt_4"]
    assert rows[0][1:3] == ["0.300", "–"]
    assert rows[2] == ["pt_1", "0.400", "0.710", "0.07", "0.61", "1.52", "12.3", "training"]
    assert page.row("similarity after") == ["similarity after", "0.450", "0.710", "0.900"]


def test_the_cohort(page):
    assert (
        page.row("voxel size, mm")[1] == "0.98 to 1.20 × 0.98 to 1.20 × 2.00 to 3.00"
    )  # along the patient, however stored
    assert page.row("body's extent, mm")[1] == "431 × 250 × 270"
    assert page.row("orientation of the voxels")[1] == "LPS (4), SAL (1)"
    assert page.row("the template")[1] == "pt_0: voxels of 3.00 × 0.98 × 0.98 mm, body of 431 × 250 × 270 mm"
    assert page.table("scan", "what was found") == [
        ["pt_3", "The same as pt_2."],
        ["pt_4", "It is <b>upside down</b>."],
        ["pt_4", "It is short."],
        ["pt_5", "cannot be read <at all>"],
    ]
    rows = {row[0]: row[1:] for row in page.table("scan", "voxels")}
    assert rows["pt_1"] == [
        "512 × 512 × 90",
        "0.98 × 0.98 × 3.00",
        "LPS",
        "500 × 500 × 270",
        "431 × 250 × 270",
        "14.2",
        "-12",
        "training",
    ]
    assert rows["pt_3"] == ["400 × 512 × 90", "1.00 × 1.10 × 2.50", "SAL", *rows["pt_1"][3:-1], "held out"]
    assert rows["pt_5"] == ["–"] * 7 + ["left out"]
    assert "3 scans to look at" in page.text


def test_time_hardware_and_configuration(page):
    assert page.table("stage") == [
        ["teacher", "1 min 15 s", "2.0 %"],
        ["training", "1 h 2 min", "98.0 %"],
        ["together", "1 h 3 min", ""],
    ]
    assert "spent 3.4 % of its time waiting for data" in page.text
    for name, value in {
        "processor": HOSTILE,
        "memory, GB": "7.8",
        "GPU": "none",
        "peak memory, process": "1.50 GB",
        "peak memory, GPU": "0.50 GB",
        "template": HOSTILE,
        "spacing, mm": "4",
        "shape": "96 × 80 × 128",
        "affine first": "no",
        "start": "–",
        "torch": "2.13.0",
        "training: batch": "2",
    }.items():
        assert page.row(name) == [name, value]
    assert page.table("scan", "reason") == [["pt_5", "cannot be read <at all>"]]


def test_remarks_say_what_flatters_or_failed(tmp_path, page):
    for words in ("Worth knowing", "was lowest", "No scan was held out", "lower after registration"):
        assert words not in page.text
    curve = [(100, 1.0, 2.0, 1.5, 0.4), (200, 2.0, 1.0, 1.75, 0.3)]
    other = rendered(ReportContent("m", trained=["a"], curve=curve, dice={"a": case(0.6, 0.5)}), tmp_path).text
    assert "was lowest, 1.500, at iteration 100 and is 1.750 at the end" in other
    assert "No scan was held out" in other and "on the scans trained on" in other
    assert "lower after registration than before for: label 2, label 10." in other


def test_what_is_not_there_is_left_out(tmp_path):
    bare = rendered(ReportContent("head & neck"), tmp_path)
    assert bare.titles == [] and bare.tables == [] and bare.sources == []
    assert "Training of head & neck" in bare.text
    data = {
        "Learning curve": "curve",
        "Registered scans": "overlays",
        "Organ overlap": "dice",
        "Teacher": "teacher",
        "Cohort": "cohort",
        "Left out": "left_out",
        "Configuration": "configuration",
    }
    for title, name in data.items():
        assert title in rendered(ReportContent("m", **{name: getattr(full(), name)}), tmp_path).titles
        without = {name: type(getattr(full(), name))()} | (
            {"versions": {}, "provenance": {}} if name == "configuration" else {}
        )
        assert rendered(replace(full(), **without), tmp_path).titles == [one for one in SECTIONS if one != title]


def test_figures_that_are_not_numbers_leave_a_dash(tmp_path):
    nan = float("nan")
    lost = rendered(ReportContent("m", curve=[(1, 0.5, nan, nan, nan)], teacher={"a": quality(None, nan)}), tmp_path)
    assert lost.row("1") == ["1", "0.5 s", "–", "–", "–"] and lost.row("a")[1:3] == ["–", "–"]
    assert len(lost.pictures()) == 2  # none of the teacher
    assert "nan" not in lost.text


def test_long_tables_are_folded_up(tmp_path):
    """All rows are there, and short tables stand open."""
    rows = [(i, float(i), 1.0, 1.0, 0.5) for i in range(1, 41)]
    for count in (12, 40):
        write_report(tmp_path / "report.html", ReportContent("m", curve=rows[:count]))
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ('<details open="">' in text) == (count == 12) and "<details" in text
        assert len(Page(text).table("iteration")) == count


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(path, ReportContent("m"))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "earlier"


def test_a_file_name_that_is_no_text(tmp_path):
    page = rendered(ReportContent("m", left_out={b"pt_\xff".decode("utf-8", "surrogateescape"): "broken"}), tmp_path)
    assert page.table("scan", "reason") == [["pt_?", "broken"]]


def test_the_overlay_shows_template_scan_and_result(tmp_path, monkeypatch):
    """The identity field lays a scan on itself: first and third column show the same."""
    volume = phantom(0)[0]
    result = Registration(volume, volume, identity_field(prepare_scan(volume, FRAME).grid), {}, True)
    shown = []
    draw = overview._panel

    def panel(axes, plane, image, *labels):
        shown.append((plane, image))
        draw(axes, plane, image, *labels)

    monkeypatch.setattr(report, "_panel", panel)
    validation_overlay(tmp_path / "validation.png", result)
    assert [p.name for p in tmp_path.iterdir()] == ["validation.png"]
    picture = imread(tmp_path / "validation.png")
    assert picture.shape[:2] == (1035, 1080) and picture[..., :3].std() > 0.1
    assert [plane for plane, _ in shown] == ["axial", "coronal", "sagittal"] * 3
    for first, third in zip(shown[:3], shown[6:]):
        assert np.isclose(first[1], third[1], atol=5.0).mean() > 0.98  # not at the scan's border


def test_hardware_names_what_computes():
    found = hardware()
    assert list(found) == ["processor", "cores", "memory_gb", "gpu"]
    assert found["processor"] and found["cores"] >= 1 and found["memory_gb"] > 0.1 and found["gpu"]


def test_hardware_names_every_gpu(monkeypatch):
    class Card:
        name, total_memory = "Card X", 80 * 2**30

    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: Card)
    assert hardware()["gpu"] == "Card X (80 GB), Card X (80 GB)"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert hardware()["gpu"] == "none"
