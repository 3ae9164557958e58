"""The state of a training in words, and its options as a request."""

from pathlib import Path

import pytest

from host import available, start
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.arguments import write_arguments
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.status import JobState
from SlicRegLib.registration.options import AlignmentOptions, RegistrationOptions
from SlicRegLib.results.options import RegisterRequest
from SlicRegLib.stages import LEARN, LEARN_AVERAGE

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    start()
    from SlicRegSlicer import training_words
    from SlicRegSlicer.training_request import find_missing_input, make_check_request, make_job_options


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (40.2, "40 s"),
        (59.7, "1 min"),
        (90, "2 min"),
        (3540, "59 min"),
        (3599, "1 h"),
        (4800, "1 h 20 min"),
        (7200, "2 h"),
        (86399, "1 day"),
        (100000, "1 day 4 h"),
        (172800, "2 days"),
        (200000, "2 days 8 h"),
    ],
)
def test_durations(seconds, words):
    assert training_words.describe_duration(seconds) == words


def test_every_stage_of_the_library_has_its_words():
    assert set(training_words.STAGES) == {*LEARN, *LEARN_AVERAGE}


@pytest.mark.parametrize(
    "stage, message, words",
    [
        ("starting", "", "starting"),
        ("check", "3 of 80: pt_3", "checking scan 3 of 80"),
        ("supervoxels", "", "dividing the template into supervoxels"),
        ("teacher", "12 of 80: pt_12", "registering scan 12 of 80"),
        ("teacher", "", "registering the scans"),
        ("training", "iteration 120, loss 1.234, validation 2.000", "training, iteration 120 of 300, loss 1.234"),
        ("average", "round 2: 12 of 80: pt_12", "averaging the scans, round 2, scan 12 of 80"),
        ("average", "round 2: the shape moved 1.3 mm", "averaging the scans, round 2"),
        ("average", "image: 3 of 80", "averaging the scans"),
        ("consensus", "pt_3", "counting the labels"),
        ("training", "", "training"),
        ("report", "held-out scan 1 of 4", "writing the report"),
    ],
)
def test_stages(stage, message, words):
    state = JobState("running", stage, message=message)
    assert training_words.describe_stage(state, {"iterations": 300}) == words


def test_states():
    describe = training_words.describe_state
    teacher = JobState("running", "teacher", 0.15, 0.034, 4800, "12 of 80: pt_12")
    assert describe(teacher, {}, []) == "Running, 3 %: registering scan 12 of 80. About 1 h 20 min left."
    paused = JobState("paused", "training", 0.5, 0.5, None, "iteration 7, loss 2.5")
    assert describe(paused, {}, []) == "Paused at 50 %: training, iteration 7, loss 2.5."
    assert describe(JobState("stopped", fraction=0.2), {}, []) == "Stopped at 20 %. Press Start to resume."
    assert describe(JobState("interrupted", fraction=0.5), {}, []).startswith("Interrupted at 50 %")
    assert describe(JobState("failed", error="The disk is full."), {}, []) == "Failed: The disk is full."
    assert "job.log" in describe(JobState("failed"), {}, [])
    assert describe(JobState("absent"), {}, []) == ""


def test_a_finished_training_tells_where_the_model_is_and_how_good_it_is():
    describe, rows = training_words.describe_state, [(50, 9.0, 4.5, 4.7, 0.1), (100, 9.0, 3.5, 4.25, 0.344)]
    listed = describe(JobState("finished"), {"name": "mine", "models": "models"}, rows)
    assert listed.splitlines() == [
        "Finished. The model mine is in the model list on the Registration tab.",
        "Last validation (iteration 100): training loss 3.500, validation loss 4.250, "
        "34.4 % of voxels classified correctly.",
    ]
    assert "Add it" in describe(JobState("finished"), {"name": "mine", "models": ""}, [])


# ---- options


def test_the_first_missing_input_is_named():
    values = {"template": "t", "images": "i", "name": "n"}
    assert find_missing_input(values, "folder") == ""
    assert find_missing_input({**values, "template": ""}, "folder") == ""  # then the average is the template
    for name, word in (("images", "folder of scans"), ("name", "name")):
        assert word in find_missing_input({**values, name: ""}, "folder")
    assert "job folder" in find_missing_input(values, "")


@pytest.fixture
def values(tmp_path):
    """Every option that the tab shows, changed."""
    for name in ("template.nii.gz", "labels.nii.gz", "names.csv", "first.slicreg"):
        (tmp_path / name).touch()
    (tmp_path / "names.csv").write_text("value,name\n1,Liver\n")
    return {
        "template": str(tmp_path / "template.nii.gz"),
        "images": str(tmp_path),
        "name": "mine",
        "preset": "unet",
        "device": "cpu",
        "iterations": 7,
        "workers": 1,
        "labels": str(tmp_path),
        "template_label": str(tmp_path / "labels.nii.gz"),
        "label_names": str(tmp_path / "names.csv"),
        "start": str(tmp_path / "first.slicreg"),
    }


def test_the_command_line_makes_the_same_options_of_their_words(values, tmp_path):
    options = make_job_options({**values, "spacing_mm": 12.0, "shape": (48, 32, 48), "affine_first": True})
    command, request, _ = parse(["learn", "--out", str(tmp_path), *write_arguments(options)])
    assert command == "learn" and request.job() == options != JobOptions()


def test_the_check_is_of_the_same_training(values, tmp_path):
    options = make_job_options({**values, "spacing_mm": 12.0, "shape": (48, 32, 48)})
    check = make_check_request(options, str(tmp_path / "job"))
    assert (check.template, check.images, check.out) == (Path(options.template), tmp_path, tmp_path / "job")
    shared = ("preset", "iterations", "batch", "learning_rate", "seed", "device", "workers", "spacing_mm", "shape")
    assert [getattr(check, name) for name in shared] == [getattr(options, name) for name in shared]
    assert parse(["check", *write_arguments(check)])[:2] == ("check", check)


def test_a_training_without_a_template_makes_an_average(values, tmp_path):
    options = make_job_options({**values, "template": "", "template_label": "", "start": ""})
    assert options.is_average and options.labels == str(tmp_path)  # which become the model's
    assert make_check_request(options, str(tmp_path / "job")).template is None


def test_nested_options_are_written_as_well(tmp_path):
    alignment = AlignmentOptions(iterations=7, alpha=0.5, affine_start=False)
    request = RegisterRequest(
        model=tmp_path / "m.slicreg",
        template=tmp_path / "a.nii",
        target=tmp_path / "b.nii",
        out=tmp_path / "out",
        registration=RegistrationOptions(refine=False, alignment=alignment),
    )
    assert parse(["register", *write_arguments(request)])[:2] == ("register", request)


def test_relative_paths_become_absolute_and_folders_need_scans(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = make_job_options({**values, "template": "template.nii.gz"})
    assert options.template == str(tmp_path / "template.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no scan"):
        make_job_options({**values, "images": str(tmp_path / "empty")})
