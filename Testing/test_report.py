"""The training report: valid HTML whatever the names, every figure where it belongs, nothing loaded from elsewhere."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

import SlicRegLib
from report_samples import HOSTILE, Page, case, full, png, quality, scan
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.report import figures
from SlicRegLib.jobs.report.collect import _name_labels
from SlicRegLib.jobs.report.content import ReportContent
from SlicRegLib.jobs.report.page import LONG_TABLE, write_report

SECTIONS = [
    "Summary",
    "Learning curve",
    "Registered scans",
    "Organ overlap",
    "Labels of the cohort",
    "Teacher",
    "Cohort",
    "Excluded scans",
    "Time and hardware",
    "Configuration",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, full())
    return Page(path.read_text(encoding="utf-8"))


def render(content: ReportContent, folder) -> Page:
    write_report(folder / "report.html", content)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_all_sections_are_in_order_and_linked(page):
    assert page.all("h2") == SECTIONS
    links = [link for link in page.sources if link.startswith("#")]
    assert links == ["#" + title.lower().replace(" ", "-") for title in SECTIONS]
    assert links == [f"#{name}" for name in page.anchors]


def test_hostile_names_are_text_and_nothing_is_loaded(page, tmp_path):
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert page.text.count("alert(1)") == page.text.count(HOSTILE) == 9
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in page.sources)
    write_report(tmp_path / "report.html", full())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"http|//\w|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert text.startswith("<!DOCTYPE html>") and 'charset="utf-8"' in text


def test_a_scan_named_like_markup_appears_as_text_everywhere(tmp_path):
    name = '<b>&"x'
    page = render(
        ReportContent(
            name,
            held_out=[name],
            excluded={name: name},
            cohort=[scan(name, unusual=[name], same_as=name)],
            template=scan(name),
            teacher={name: quality(0.4, 0.7)},
            overlays=[(name, png(0.5))],
            dice={name: case(0.2, 0.8)},
            label_names={"2": name},
            organs=[{**full().organs[0], "name": name}],
            label_notes=[name],
            configuration={name: {name: [name, 1]}},
            hardware={"processor": name},
            seconds={name: 1.0},
            peak_memory_mb={name: 1024.0},
            versions={name: name},
        ),
        tmp_path,
    )
    assert page.all("title") == page.all("h1") == [f"Training report: {name}"]
    assert f"{name} (held out)" in page.alternatives and f"{name} (held out)" in page.all("figcaption")
    assert page.table("scan", "finding") == [[name, f"Copy of {name}."], [name, name]]
    assert page.table("scan", "reason") == [[name, name]]
    assert page.row("template")[1].startswith(f"{name}: voxel size")
    for head in (
        ("label",),
        ("organ",),
        ("scan", "trained on"),
        ("scan", "similarity before"),
        ("scan", "voxels"),
        ("stage",),
    ):
        assert page.table(*head)[0][0] == name
    assert page.row("processor") == ["processor", name] and page.row(f"peak memory, {name}")[1] == "1.00 GB"
    assert page.row(f"{name}: {name}") == [f"{name}: {name}", f"{name}, 1"]


def test_every_picture_shows_something(page):
    """Curve (2), registered scans (2), Dice, teacher, unusual scans. Pictures that were given are unchanged."""
    assert page.all("figcaption")[2:4] == [f"{HOSTILE} (training)", "pt_4 (held out)"]
    assert page.alternatives == page.all("figcaption")
    pictures = page.pictures()
    assert len(pictures) == 7
    for picture in pictures:
        assert picture.var() > 1e-3 and (picture != picture[0, 0]).mean() > 0.01
    for position, shade in ((2, 0.5), (3, 0.75), (6, 0.25)):
        assert np.array_equal(pictures[position], imread(io.BytesIO(png(shade)), format="png")[..., :3])


def test_diagrams_show_their_data(page, tmp_path):
    """Other figures give other diagrams."""
    content = full()
    other = render(
        replace(
            content,
            curve=[(step, time, loss + 1, held, accuracy / 2) for step, time, loss, held, accuracy in content.curve],
            dice={"pt_3": case(0.3, 0.7), "pt_1": case(0.4, 0.6)},
            teacher=content.teacher | {"pt_1": quality(0.4, 0.8)},
        ),
        tmp_path,
    )
    for position in (0, 1, 4, 5):
        before, after = page.pictures()[position], other.pictures()[position]
        assert before.shape != after.shape or (before != after).any()


def test_the_figures_of_the_summary(page):
    assert page.all("b")[:4] == ["65.4 %", "1.875", "3", "0.525"]
    assert page.all("span") == [
        "of voxels classified correctly in validation; 12.3 % at iteration 100",
        "validation loss; 4.125 at iteration 100",
        "training scans; 2 held out for validation, 1 excluded",
        "mean Dice of 2 labelled scans after registration; 0.225 before",
    ]
    for words in ("random guessing gives 4.85", "Random guessing reaches 0.8 %", "2024-05-01 12:30"):
        assert words in page.text, words


def test_the_learning_curve(page):
    assert page.table("iteration", "time") == [
        ["100", "1 min 2 s", "3.500", "4.125", "12.3 %"],
        ["200", "2 min 3 s", "2.500", "2.250", "50.0 %"],
        ["300", "1 h 2 min", "1.500", "1.875", "65.4 %"],
    ]


def test_dice_per_label_and_scan(page):
    """Labels are sorted by number, not by text: 2 before 10. A distance without any value is a dash."""
    assert page.table("label") == [
        ["label 2", "2", "0.300", "0.700", "+0.400", "3.0", "7.0"],
        [HOSTILE, "2", "0.150", "0.350", "+0.200", "–", "4.2"],
    ]
    assert page.table("scan", "trained on") == [
        ["pt_3", "no", "0.150", "0.600", "2.0", "8.0", "0.00"],
        ["pt_1", "yes", "0.300", "0.450", "4.0", "6.0", "0.12"],
    ]
    assert "organ labels of 2 scans with those" in page.text and "Scans not used for training: 1." in page.text


def test_the_labels_of_the_cohort(page):
    """An organ of one scan agrees with nobody."""
    assert page.table("organ") == [
        ["Liver", "12", "0.765", "37.5 %", "1.0", "2.0", "4.0"],
        [HOSTILE, "1", "–", "50.0 %", "–", "–", "–"],
    ]
    assert "pt_2: Liver has <b>9000</b> ml." in page.text


def test_labels_have_the_names_of_the_consensus_or_of_the_table(tmp_path):
    """A table that is gone since the job began costs the names, not the report."""
    said, study = [], SimpleNamespace(organs=[{"value": 3, "name": "Liver"}])
    recorder = SimpleNamespace(log=said.append)
    (tmp_path / "names.csv").write_text("value,name\n2,Spleen\n")
    options = JobOptions(labels=str(tmp_path), label_names=str(tmp_path / "names.csv"))
    assert _name_labels(options, study, recorder) == {"3": "Liver"}
    study.organs = []
    assert _name_labels(options, study, recorder) == {"2": "Spleen"}
    (tmp_path / "names.csv").unlink()
    assert _name_labels(options, study, recorder) == {} and "names.csv" in said[0]


def test_a_label_of_some_scans_counts_those(tmp_path):
    one, other = case(0.2, 0.8), case(0.4, 0.6)
    for when in ("before", "after"):
        del other[when]["dice"]["10"], other[when]["hd95_mm"]["10"]
    row = render(ReportContent("m", dice={"a": one, "b": other}), tmp_path).row("label 10")
    assert row[1:4] == ["1", "0.100", "0.400"]


def test_the_teacher_lowest_similarity_first(page):
    rows = page.table("scan", "similarity before")
    assert [row[0] for row in rows] == [HOSTILE, "pt_2", "pt_1", "pt_4"]
    assert rows[0][1:3] == ["0.300", "–"]
    assert rows[2] == ["pt_1", "0.400", "0.710", "0.07", "0.61", "1.52", "12.3", "training"]
    assert page.row("similarity after") == ["similarity after", "0.450", "0.710", "0.900"]


def test_the_cohort(page):
    # along the patient's axes, however a scan is stored
    assert page.row("voxel size, mm")[1] == "0.98 to 1.20 × 0.98 to 1.20 × 2.00 to 3.00"
    assert page.row("body size, mm")[1] == "431 × 250 × 270"
    assert page.row("voxel orientation")[1] == "LPS (4), SAL (1)"
    facts = next(table for table in page.tables if table[0][0] == "scans")
    assert facts[-1] == ["template", "pt_0: voxel size 3.00 × 0.98 × 0.98 mm, body size 431 × 250 × 270 mm"]
    assert page.table("scan", "finding") == [
        ["pt_3", "Copy of pt_2."],
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
    assert rows["pt_5"] == ["–"] * 7 + ["excluded"]
    assert "3 scans to check" in page.all("h3")


def test_time_hardware_and_configuration(page):
    assert page.table("stage") == [
        ["teacher", "1 min 15 s", "2.0 %"],
        ["training", "1 h 2 min", "98.0 %"],
        ["total", "1 h 3 min", ""],
    ]
    configuration = next(table for table in page.tables if ["iterations", "300"] in table)
    assert configuration[0] == ["template", HOSTILE]
    for name, value in {
        "processor": HOSTILE,
        "memory, GB": "7.8",
        "GPU": "none",
        "peak memory, process": "1.50 GB",
        "peak memory, GPU": "0.50 GB",
        "spacing, mm": "4",
        "shape": "96 × 80 × 128",
        "affine first": "no",
        "start": "–",
        "torch": "2.13.0",
        "training: batch": "2",
    }.items():
        assert page.row(name) == [name, value]
    assert page.table("scan", "reason") == [["pt_5", "cannot be read <at all>"]]
    assert "1 scan was used for neither training nor validation." in page.all("p")


def test_the_advice_against_waiting_names_what_chooses_the_loaders(page):
    """The processes of --jobs are the teacher's: they do not load training samples."""
    assert "3.4 % of the training time was spent waiting for training samples" in page.text
    assert "TrainingOptions.loaders" in page.text and "--jobs" not in page.text


def test_remarks_name_what_is_optimistic_or_became_worse(tmp_path, page):
    for words in ("Please note", "was lowest", "No scan was held out", "lowered the mean Dice"):
        assert words not in page.text
    curve = [(100, 1.0, 2.0, 1.5, 0.4), (200, 2.0, 1.0, 1.75, 0.3)]
    other = render(ReportContent("m", trained=["a"], curve=curve, dice={"a": case(0.6, 0.5)}), tmp_path)
    assert "Please note" in other.all("h3") and len(other.all("li")) == 3
    assert "was lowest (1.500) at iteration 100 and was 1.750 at the end" in other.text
    assert "No scan was held out" in other.text and "body voxels of the training scans" in other.text
    assert "Registration lowered the mean Dice of: label 2, label 10." in other.text


def test_sections_without_data_are_omitted(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_encode", lambda figure: b"not drawn")  # 15 pages with up to 4 diagrams
    bare = render(ReportContent("head & neck"), tmp_path)
    assert bare.all("h2") == [] and bare.tables == [] and bare.sources == []
    assert bare.all("h1") == ["Training report: head & neck"]
    data = {
        "Learning curve": "curve",
        "Registered scans": "overlays",
        "Organ overlap": "dice",
        "Labels of the cohort": "organs",
        "Teacher": "teacher",
        "Cohort": "cohort",
        "Excluded scans": "excluded",
        "Configuration": "configuration",
    }
    for title, name in data.items():
        assert title in render(ReportContent("m", **{name: getattr(full(), name)}), tmp_path).all("h2")
        without = {name: type(getattr(full(), name))()}
        without |= {"versions": {}, "provenance": {}} if name == "configuration" else {}
        assert render(replace(full(), **without), tmp_path).all("h2") == [one for one in SECTIONS if one != title]


def test_values_that_are_not_numbers_become_a_dash(tmp_path):
    nan = float("nan")
    lost = render(ReportContent("m", curve=[(1, 0.5, nan, nan, nan)], teacher={"a": quality(None, nan)}), tmp_path)
    assert lost.row("1") == ["1", "0.5 s", "–", "–", "–"] and lost.row("a")[1:3] == ["–", "–"]
    assert len(lost.pictures()) == 2  # none of the teacher
    assert "nan" not in lost.text


@pytest.mark.parametrize("count", (LONG_TABLE, 40))
def test_long_tables_are_collapsed(tmp_path, count):
    """All rows are there; short tables are open."""
    rows = [(i, float(i), 1.0, 1.0, 0.5) for i in range(1, count + 1)]
    page = render(ReportContent("m", curve=rows), tmp_path)
    assert page.collapsible == [count == LONG_TABLE]
    assert len(page.table("iteration")) == count


def test_written_completely_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match=r"disk full"):
        write_report(path, ReportContent("m"))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "earlier"


def test_names_that_are_not_utf_8(tmp_path):
    """Python holds the bytes of such a file name as surrogates, which neither UTF-8 nor fonts can represent."""
    name = b"pt_\xff".decode("utf-8", "surrogateescape")
    page = render(
        ReportContent(
            name,
            excluded={name: "broken"},
            cohort=[scan(name)],
            teacher={name: quality(0.4, 0.7)},
            overlays=[(name, png(0.5))],
            dice={name: case(0.2, 0.8)},
            label_names={"2": name},
            configuration={"template": name, "paths": [{"a": name}]},
        ),
        tmp_path,
    )
    assert page.all("h1") == ["Training report: pt_?"]
    assert page.table("scan", "reason") == [["pt_?", "broken"]]
    assert page.table("label")[0][0] == "pt_?" and page.row("template")[1] == "pt_?"


def test_importing_the_report_loads_nothing_heavy():
    """Slicer imports light modules before the packages are installed."""
    code = "import sys, SlicRegLib.jobs.report.page, SlicRegLib.jobs.report.hardware; print(*sys.modules)"
    root = Path(SlicRegLib.__file__).parents[1]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "SlicRegLib.jobs.report.words" in loaded.stdout.split()
    assert {"jinja2", "matplotlib", "torch", "numpy", "psutil", "joblib"}.isdisjoint(loaded.stdout.split())
