"""The configuration of a job: one for all its runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.arguments import changed_arguments
from SlicRegLib.jobs.options import JOB_VERSION, JobOptions, read_config, read_options, write_config

OPTIONS = JobOptions(name="mine", template="/t.nii.gz", images="/scans", shape=(48, 32, 48), deeds_dir="/deeds")


def test_the_file_has_the_options(tmp_path):
    write_config(tmp_path, OPTIONS)
    assert read_config(tmp_path)["version"] == JOB_VERSION and read_options(tmp_path) == OPTIONS
    before = (tmp_path / "job.json").stat().st_mtime_ns
    write_config(tmp_path, OPTIONS)
    assert (tmp_path / "job.json").stat().st_mtime_ns == before


def test_where_and_how_fast_may_change_from_run_to_run(tmp_path):
    write_config(tmp_path, OPTIONS)
    changed = replace(OPTIONS, workers=7, device="cpu", scheduler="tcp://elsewhere:8786")
    write_config(tmp_path, changed)
    assert read_options(tmp_path) == changed
    with pytest.raises(UserError, match=r"different options \(preset, seed\); choose another folder"):
        write_config(tmp_path, replace(OPTIONS, preset="paper", seed=1, workers=3))
    assert read_options(tmp_path) == changed


def test_jobs_of_earlier_versions_can_be_resumed(tmp_path):
    write_config(tmp_path, JobOptions(name="mine"))
    content = json.loads((tmp_path / "job.json").read_text())
    del content["series"], content["template_series"]
    (tmp_path / "job.json").write_text(json.dumps(content))
    write_config(tmp_path, JobOptions(name="mine"))
    with pytest.raises(UserError, match=r"different options \(series\)"):
        write_config(tmp_path, JobOptions(name="mine", series="3"))


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = replace(OPTIONS, template="t.nii.gz", labels="labels").absolute()
    assert (options.template, options.labels) == (str(tmp_path / "t.nii.gz"), str(tmp_path / "labels"))
    assert (options.images, options.models) == (OPTIONS.images, "")


@pytest.mark.parametrize(
    "text, words",
    [(None, "contains no training"), ("{", "is damaged"), (json.dumps({"version": 0}), "another version")],
)
def test_files_that_cannot_be_used(tmp_path, text, words):
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    for read in (read_config, read_options):
        with pytest.raises(UserError, match=words):
            read(tmp_path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"iterations": 10**12}, "iterations must lie between"),
        ({"learning_rate": float("nan")}, "NaN"),
        ({"spacing_mm": "4"}, "spacing must be a number"),
        ({"workers": 10**9}, "jobs must lie between 1 and 1024"),
        ({"shape": [16, 16]}, "shape must be 3 numbers"),
        ({"shape": 7}, "damaged"),
        ({"template": None}, "template must be a text"),
        ({"preset": "large"}, "preset must be one of"),
    ],
    ids=str,
)
def test_options_in_the_file_that_cannot_be(tmp_path, changes, words):
    write_config(tmp_path, OPTIONS)
    content = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps({**content, **changes}))
    with pytest.raises(UserError, match=words) as error:
        read_options(tmp_path)
    assert "job.json is damaged (" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"name": "", "images": ""}, "also needs --images, --name"),
        ({"name": ".mine"}, "A model cannot be called '.mine'; use letters"),
        ({"template_label": __file__}, "give both or neither"),
        ({"start": "nowhere.slicreg"}, "nowhere.slicreg does not exist"),
    ],
    ids=str,
)
def test_options_that_no_training_can_start_with(changes, words):
    good = JobOptions(name="mine", template=__file__, images=str(Path(__file__).parent), models="is made later")
    good.check()
    with pytest.raises(UserError) as error:
        replace(good, **changes).check()
    assert words in str(error.value)


def test_what_differs_from_the_defaults():
    defaults = ["--device", "auto", "--alpha", "0.015", "--refine", "--shape", "1", "2"]
    assert changed_arguments(defaults, defaults) == changed_arguments(["--alpha", "0.015"], defaults) == {}
    words = ["--no-refine", "--alpha", "-1", "--shape", "1", "3", "--overlays"]
    assert changed_arguments(words, defaults) == {
        "refine": ["no"],
        "alpha": ["-1"],
        "shape": ["1", "3"],
        "overlays": [],
    }
    assert changed_arguments(["cpu"], defaults) == {}  # no option at all
