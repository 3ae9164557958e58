"""A report with every section filled, and the content of an HTML page for comparison."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from SlicRegLib.jobs.report.content import ReportContent

HOSTILE = "<b>&\"'$x_1$</b><script>alert(1)</script>"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """The content of an HTML text. Raises AssertionError if tags are not nested correctly or react to events."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.anchors: list[str] = []
        self.alternatives: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.collapsible: list[bool] = []  # whether each collapsible table is open
        self.texts: list[tuple[str, str]] = []  # (innermost element, text)
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.anchors += [value for key, value in attributes if key == "id"]
        self.alternatives += [value for key, value in attributes if key == "alt"]
        self.sources += [
            value for key, value in attributes if key in ("src", "href", "srcset", "data", "action", "poster")
        ]
        assert not [key for key, _ in attributes if key.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
            self.texts.append((tag, ""))
        if tag == "details":
            self.collapsible.append("open" in dict(attributes))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join("".join(data for tag, data in self.texts if tag != "style").split())

    def all(self, tag: str) -> list[str]:
        """The text directly in each element of a kind."""
        found = []
        for one, data in self.texts:
            if one == tag and not data:
                found.append("")
            elif one == tag:
                found[-1] += data
        return found

    def pictures(self) -> list[np.ndarray]:
        return [decode(source) for source in self.sources if not source.startswith("#")]

    def table(self, *head: str) -> list[list[str]]:
        """The rows of the table whose head begins with ``head``."""
        return next(table[1:] for table in self.tables if table[0][: len(head)] == list(head))

    def row(self, name: str) -> list[str]:
        """The first row of any table that begins with ``name``."""
        return next(row for table in self.tables for row in table if row[0] == name)


def decode(uri: str) -> np.ndarray:
    """RGB (height, width, 3) of a picture in a data URI."""
    code = uri.removeprefix("data:image/png;base64,")
    return imread(io.BytesIO(base64.b64decode(code, validate=True)), format="png")[..., :3]


def png(shade: float) -> bytes:
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().set_facecolor((shade, shade, shade))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def case(before: float, after: float, folding: float = 0.0) -> dict:
    """As `evaluate.compare` returns it: label 2 at the given Dice, label 10 at half of it, without HD95 before."""

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
        excluded={"pt_5": "cannot be read <at all>"},
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
        organs=[
            {
                "value": 2,
                "name": "Liver",
                "raters": 12,
                "threshold": 0.375,
                "agreement": 0.7654,
                "volumes_ml": [1.0, 2.0, 4.0],
            },
            {"value": 10, "name": HOSTILE, "raters": 1, "threshold": 0.5, "agreement": 1.0, "volumes_ml": []},
        ],
        label_notes=["pt_2: Liver has <b>9000</b> ml."],
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
