"""One sentence and exit code 2 for every mistake on the command line, and nothing left behind; help; as a program."""

import json
import os
import subprocess
import sys

import nibabel as nib
import pytest

import SlicRegLib
from command_line import *  # noqa: F403  its fixtures
from command_line import BAD, QUICK, bad_image, is_one_sentence, run
from SlicRegLib.cli.main import main
from SlicRegLib.cli.parser import REQUESTS, parse
from SlicRegLib.errors import UserError
from SlicRegLib.option import describe_options, flag_of
from tiny import NETWORK


@pytest.mark.parametrize("kind", BAD)
def test_bad_target(model, pair, tmp_path, capfd, kind):
    target = bad_image(kind, tmp_path / "scan.nii.gz")
    code = run("register", model=model, template=pair["template"], target=target, out=tmp_path / "out")
    error = capfd.readouterr().err.replace("\r", "\n").splitlines()[-1]  # bars may have begun
    assert code == 2 and error.startswith("slicreg: ") and BAD[kind] in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", BAD)
def test_bad_template(cohort, model, tmp_path, capfd, kind):
    template, out = bad_image(kind, tmp_path / "scan.nii.gz"), tmp_path / "out"
    assert run("prepare", template=template, images=cohort / "img", out=out) == 2
    assert is_one_sentence(capfd, BAD[kind]) and not out.exists()
    if kind != "no body":
        label = cohort / "template_label.nii.gz"
        folders = {"images": cohort / "img", "labels": cohort / "label", "out": tmp_path / "r.json"}
        assert run("evaluate", model=model, template=template, template_label=label, **folders) == 2
        assert is_one_sentence(capfd, BAD[kind]) and not (tmp_path / "r.json").exists()


def test_labels_of_another_shape(cohort, model, pair, tmp_path, capfd):
    label = nib.load(cohort / "label/pt_1.nii.gz")
    nib.save(label.slicer[:, :, :-2], tmp_path / "label.nii.gz")
    for option in ("template_label", "target_label"):
        assert run("register", model=model, **pair, out=tmp_path / "out", **{option: tmp_path / "label.nii.gz"}) == 2
        assert is_one_sentence(capfd, "shape") and not (tmp_path / "out").exists()
    assert run("register", model=model, **pair, out=tmp_path / "out", target_label=cohort / "img/pt_1.nii.gz") == 2
    assert is_one_sentence(capfd, "not a label map") and not (tmp_path / "out").exists()


def test_evaluation_without_labels(cohort, model, tmp_path, capfd):
    (tmp_path / "none").mkdir()
    template = {"template": cohort / "template.nii.gz", "template_label": cohort / "template_label.nii.gz"}
    folders = {"images": cohort / "img", "labels": tmp_path / "none", "out": tmp_path / "r.json"}
    assert run("evaluate", model=model, **template, **folders) == 2
    assert is_one_sentence(capfd, "by name") and not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "content, part", [(None, "does not exist"), (b"", "corrupt"), ("half", "corrupt"), ("newer", "newer")]
)
def test_bad_model(model, pair, tmp_path, capfd, monkeypatch, content, part):
    path, out = tmp_path / "bad.slicreg", tmp_path / "out"
    if content == "newer":
        monkeypatch.setattr("SlicRegLib.registration.model_parts.MODEL_VERSION", 0)
    if content is not None:
        all_of_it = model.read_bytes()
        path.write_bytes({"half": all_of_it[:9000], "newer": all_of_it}.get(content, content))
    assert run("info", path) == 2 and is_one_sentence(capfd, part)
    assert run("register", model=path, **pair, out=out) == 2 and is_one_sentence(capfd, part)
    assert not out.exists()


def test_a_device_that_is_not_there(study, model, pair, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for device, part in (("cuda", "CUDA"), ("gpu", "Unknown device")):
        assert run("register", model=model, **pair, out=tmp_path / "out", device=device) == 2
        assert is_one_sentence(capfd, part)
        assert run("train", study=study.folder, out=tmp_path / "new" / "m.slicreg", device=device) == 2
        assert is_one_sentence(capfd, part)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option, value",
    [
        ("key_points", 0),
        ("key_points", 3),
        ("neighbours", 0),
        ("iterations", -1),
        ("alpha", -1),
        ("dilation", 0),
        ("chunk", 0),
        ("buckets", 0),
        ("smoothing", 4),
        ("least_stretch", 5),
    ],
)
def test_bad_registration_options(model, pair, tmp_path, capfd, option, value):
    assert run("register", model=model, **pair, out=tmp_path / "out", **{option: value}) == 2
    assert is_one_sentence(capfd, "must") and not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(cohort, model, pair, tmp_path, capfd):
    (tmp_path / "file").write_text("mine")
    assert run("register", model=model, **pair, out=tmp_path / "file", json=True, **QUICK) == 2
    assert "is a file" in capfd.readouterr().err
    assert run("prepare", template=pair["template"], images=cohort / "img", out=tmp_path / "file") == 2
    assert is_one_sentence(capfd, "is a file") and (tmp_path / "file").read_text() == "mine"


def test_a_check_refuses_wrong_options_before_it_reads_the_scans(cohort, tmp_path, capfd):
    """The template and the scans, which do not exist, are not even looked for."""
    for option, part in (({"spacing": 100}, "spacing must lie between 0.5 and 20"), ({"iterations": 0}, "iterations")):
        assert run("check", template=tmp_path / "none", images=tmp_path / "none", **option) == 2
        assert is_one_sentence(capfd, part)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"slicreg {SlicRegLib.__version__}\n"


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        run("info", tmp_path / "none.slicreg", debug=True)


# ---- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, part",
    [
        (
            "register --model m",
            "`register` also needs --target CT, --out DIR; see `slicreg register --help`.",
        ),
        ("register --model m --template t --target c --out o --alphas 1", "did you mean --alpha?"),
        ("register --model m --template t --target c --out o --iterations many", "--iterations"),
        ("register --model m --template t --target c --out o --features x", "'probabilities', 'labels'"),
        ("train --study s --out o --preset big", "'paper', 'unet', 'compact'"),
        ("job hold x", "'status', 'pause', 'resume', 'stop'"),
        ("job status", "`job` also needs FOLDER"),
        (
            "register --model m --template t --target c --out o --shape 96 80",
            "options: --shape, 96, 80; see",
        ),
        (
            "prepare --template t --images i --out o --shape 96 80",
            "must have the form R A S; see `slicreg prepare",
        ),
        ("register --model m --template t --target c --out o --alpha None", "--alpha must have the form FLOAT"),
        ("--json register", "A command is needed first"),
        ("nonsense", "There is no command 'nonsense'; choose one of register,"),
        ("", "A command is needed first; choose one of register,"),
    ],
)
def test_wrong_words(capfd, arguments, part):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2 and is_one_sentence(capfd, part)


@pytest.mark.parametrize(
    "command, arguments, name",
    [
        ("register", ["--model", "m", "--out", ""], "--out"),
        ("register", ["--out="], "--out"),
        ("register", ["--target_label", ""], "--target-label"),
        ("batch", ["--images", "", "--jobs", "2"], "--images"),
        ("learn", ["--out", ""], "--out"),
        ("demo", ["--out", ""], "--out"),
        ("serve", ["--temporary", ""], "--temporary"),
        ("info", [""], "the path"),
        ("job", ["status", ""], "the path"),
    ],
)
def test_an_empty_path_is_not_the_working_directory(capfd, command, arguments, name):
    with pytest.raises(SystemExit) as end:
        main([command, *arguments])
    assert end.value.code == 2 and is_one_sentence(capfd, f"The value of {name} is empty; give")


def test_long_words_are_not_broken(capfd, monkeypatch):
    """Nor does a narrow window change what is said."""
    monkeypatch.setenv("COLUMNS", "40")
    path = "/" + "/".join(["a-long-folder"] * 20)
    with pytest.raises(SystemExit):
        main(["demo", "--foo", path])
    assert is_one_sentence(capfd, f"Unrecognized options: --foo, {path}; see `slicreg demo --help`.")
    assert os.environ["COLUMNS"] == "40"


@pytest.mark.parametrize("command", REQUESTS)
def test_help_describes_every_option(command, capsys, monkeypatch):
    """With its flag and the text that is written beside the dataclass's field."""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and "--json" in text and "--debug" in text
    for name, meaning in describe_options(REQUESTS[command]).items():
        if name in ("registration", "action", "folder", "model", "recipe", "data", "result"):
            continue
        assert meaning, f"{command}: {name} has no attribute docstring"
        assert flag_of(REQUESTS[command], name) in text
    assert "(default:" in text or command in ("info", "job")


def test_the_words_of_earlier_versions_are_understood():
    """They are in people's scripts."""
    tail = [
        "--device",
        "cpu",
        "--iterations",
        "3",
        "--alpha",
        "0.1",
        "--neighbours",
        "4",
        "--key-points",
        "9",
        "--seed",
        "7",
    ]
    files = ["--model", "m", "--template", "t", "--target", "c", "--out", "o"]
    _, request, _ = parse(["register", *files, "--overlays", "--features", "labels", "--no-refine", *tail])
    options = request.registration
    assert request.overlays and not options.refine and options.prediction.features == "labels"
    alignment = options.alignment
    assert (alignment.iterations, alignment.alpha, alignment.neighbours, alignment.key_points, alignment.seed) == (
        3, 0.1, 4, 9, 7,
    )  # fmt: skip
    _, learn, output = parse(
        "learn --out o --name n --template t --images i --preset unet --iterations 5 --batch 3 --learning-rate 0.1 "
        "--from m --cohort c --labels l --template-label tl --models d --teacher deeds --affine-first --deeds-dir e "
        "--jobs 4 --scheduler s --spacing 3 --shape 16 32 48 --quiet --json".split()
    )
    assert (learn.start, learn.workers, learn.spacing_mm, learn.shape) == ("m", 4, 3.0, (16, 32, 48))
    assert learn.quiet and learn.affine_first and learn.teacher == "deeds" and output.json
    _, train, _ = parse(
        "train --study s --out o --resume --cohort c --include-template T --include-labels L --from m".split()
    )
    assert train.resume and str(train.include_template) == "T" and train.start == "m"
    _, demo, _ = parse("demo --train --iterations 3 --scans 2 --jobs 1".split())
    assert demo.train and (demo.iterations, demo.scans, demo.workers) == (3, 2, 1)


# ---- as a program ---------------------------------------------------------------------------------------------


def test_runs_as_a_module(model, tmp_path):
    def program(*arguments):
        command = [sys.executable, "-m", "SlicRegLib", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = program("info", model)
    assert done.returncode == 0 and json.loads(done.stdout)["network"]["layers"] == NETWORK.layers
    failed = program("info", "none.slicreg")
    assert (failed.returncode, failed.stdout) == (2, "") and failed.stderr.startswith("slicreg: ")
    assert failed.stderr.count("\n") == 1
