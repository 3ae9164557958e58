"""Many scans: each once, none twice after an interruption, and a table of the results."""

import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from batch_samples import REPORT, finish, make, out_of, scans_in, write_scans
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError
from SlicRegLib.images import files
from SlicRegLib.jobs.batch import name_scans
from SlicRegLib.jobs.batch_folder import hold_batch_folder
from SlicRegLib.jobs.batch_rows import COLUMNS
from SlicRegLib.jobs.command_process import CommandProcess

MEASURED = {"before": {"mean_dice": 0.2, "mean_hd95_mm": 20.0}, "after": {"mean_dice": 0.7, "mean_hd95_mm": None}}


@pytest.fixture
def cohort(tmp_path) -> Path:
    return write_scans(tmp_path)


def failed(error="The scan is empty.", state="failed"):
    return SimpleNamespace(state=state, error=error, elapsed=1.23)


def table(folder: Path) -> list[dict]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def statuses(batch) -> list[str]:
    return [row["status"] for row in batch.rows()]


def test_all_scans_one_after_another(cohort):
    batch = make(cohort, template_label=cohort / "label.nii.gz", labels={"b": cohort / "label.nii.gz"})
    assert batch.pending() == ["a", "b", "c"] and batch.fraction == 0 and statuses(batch) == ["waiting"] * 3
    seen = []
    while arguments := batch.next():
        command, options, _ = parse(arguments)  # the command line accepts them
        assert command == "register"
        assert options.out == cohort / "out" / options.target.name.split(".")[0]
        assert options.target.is_file() and options.device == "cpu"
        assert options.template_label == cohort / "label.nii.gz" and bool(options.target_label) == (
            options.out.name == "b"
        )
        assert statuses(batch)[len(seen)] == "running"
        seen.append(options.out.name)
        batch.record(finish(options.out, REPORT | MEASURED if options.target_label else REPORT))
    assert seen == ["a", "b", "c"] and batch.fraction == 1 and statuses(batch) == ["done"] * 3
    rows = table(cohort / "out")
    assert tuple(rows[0]) == COLUMNS
    assert list(rows[0].values()) == ["a", "done", "", "7.5", "0.02", "", "", "", "", "", "", ""]
    assert list(rows[1].values()) == ["b", "done", "", "7.5", "0.02", "0.2", "0.7", "20.0", "", "", "", ""]
    places = f"Table: {cohort / 'out' / 'results.csv'}; pictures: {cohort / 'out' / 'results.html'}"
    assert batch.summary() == f"3 scans: 3 done. {places}"  # no verdicts in the reports


def with_verdict(word: str) -> dict:
    return REPORT | {"verdict": {"word": word, "sentence": f"That was {word}."}}


def test_the_summary_names_what_must_be_looked_at(cohort):
    batch = make(cohort)
    for word in ("good", "doubtful", "failed"):
        batch.record(finish(out_of(batch.next()), with_verdict(word)))
    rows = {row["name"]: row for row in table(cohort / "out")}
    assert {name: (row["status"], row["verdict"], row["verdict_reason"]) for name, row in rows.items()} == {
        "a": ("done", "good", "That was good."),
        "b": ("done", "doubtful", "That was doubtful."),
        "c": ("done", "failed", "That was failed."),
    }
    assert batch.summary().splitlines()[1:] == [
        "Verdicts of what was registered: 1 good, 1 doubtful, 1 failed.",
        "c: Verdict: FAILED. That was failed.",
        "b: Verdict: DOUBTFUL. That was doubtful.",
    ]
    assert all(not row["notes"] for row in rows.values())
    again = make(cohort)  # what is done is read from the reports
    assert again.pending() == [] and again.summary() == batch.summary()


def test_notes_about_the_scans_are_in_the_table(cohort):
    batch = make(cohort)
    batch.record(finish(out_of(batch.next()), REPORT | {"notes": ["It had an offset.", "It is tilted."]}))
    batch.record(finish(out_of(batch.next()), REPORT | {"notes": []}))
    assert [row["notes"] for row in table(cohort / "out")] == ["It had an offset. It is tilted.", "", ""]
    assert batch.summary().splitlines()[-1].endswith('column "notes" of results.csv: a.')


def test_a_batch_of_a_version_without_verdicts_is_continued(cohort):
    """Its results are kept, without a verdict; its table is written anew with the new columns."""
    batch = make(cohort)
    batch.record(finish(out_of(batch.next())))
    old = [{k: v for k, v in row.items() if not k.startswith("verdict")} for row in table(cohort / "out")]
    with (cohort / "out" / "results.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(old[0]))
        writer.writeheader()
        writer.writerows(old)
    batch = make(cohort)
    assert batch.pending() == ["b", "c"]
    batch.record(finish(out_of(batch.next()), with_verdict("good")))
    batch.record(finish(out_of(batch.next()), REPORT | {"verdict": "damaged"}))
    rows = table(cohort / "out")
    assert tuple(rows[0]) == COLUMNS and [row["verdict"] for row in rows] == ["", "good", ""]
    assert "Verdicts of what was registered: 1 good." in batch.summary()


def test_one_failing_scan_does_not_end_the_run(cohort):
    batch = make(cohort)
    batch.record(finish(out_of(batch.next())))
    batch.next()
    batch.record(failed())
    assert out_of(batch.next()).name == "c"
    batch.record(SimpleNamespace(state="finished", error="", elapsed=1.0))  # but has left no results
    assert batch.next() is None and statuses(batch) == ["done", "failed", "failed"]
    rows = table(cohort / "out")
    assert (
        rows[1]["error"] == "The scan is empty."
        and rows[1]["seconds"] == "1.2"
        and "are incomplete" in rows[2]["error"]
    )
    assert "1 done, 2 failed" in batch.summary() and "b: The scan is empty." in batch.summary()
    again = make(cohort)
    assert again.pending() == ["b", "c"]  # only what failed is tried again


def test_an_interrupted_batch_is_resumed(cohort):
    batch = make(cohort)
    batch.record(finish(out_of(batch.next())))
    batch.next()
    batch.record(failed("", "cancelled"))
    assert statuses(batch) == ["done", "cancelled", "waiting"]
    batch.next()  # and the application ends here
    again = make(cohort)
    assert (
        again.pending() == ["b", "c"] and again.rows()[0]["seconds"] == 7.5 and again.fraction == pytest.approx(1 / 3)
    )


@pytest.mark.parametrize(
    "change, pending",
    [
        ("target", ["a"]),
        ("template", ["a", "b", "c"]),
        ("model", ["a", "b", "c"]),
        ("options", ["a", "b", "c"]),
        ("label", ["a", "b", "c"]),
        ("result", ["a"]),
        ("report", ["a"]),
        ("state", ["a", "b", "c"]),
        ("touched", []),
        ("nothing", []),
    ],
)
def test_only_what_changed_is_done_again(cohort, change, pending):
    batch = make(cohort)
    while arguments := batch.next():
        batch.record(finish(out_of(arguments)))
    more = {}
    if change in ("target", "template", "model"):
        file = {"target": "scans/a.nii.gz", "template": "template.nii.gz", "model": "model.slicreg"}[change]
        text = (cohort / file).read_text()
        (cohort / file).write_text(text.upper())  # the same size
        os.utime(cohort / file, ns=(1, 1))
    elif change == "options":
        more = {"options": ["--device", "cpu", "--no-refine"]}
    elif change == "label":
        more = {"template_label": cohort / "label.nii.gz"}
    elif change == "result":
        (cohort / "out/a/transform.h5").unlink()
    elif change == "report":
        (cohort / "out/a/report.json").write_text('{"seconds": {"tot')
    elif change == "state":
        (cohort / "out/batch.json").write_text('{"version": 1, "cas')
    elif change == "touched":  # the scene's template is written anew for each batch
        os.utime(cohort / "template.nii.gz", ns=(1, 1))
    assert make(cohort, **more).pending() == pending


def test_transforms_may_have_another_format(cohort):
    """A result is complete with both transforms of one format; the default need not be named."""
    nrrd = ["--device", "cpu", "--transform-format", "nrrd"]
    batch = make(cohort, options=nrrd)
    while arguments := batch.next():
        assert arguments[-2:] == nrrd[-2:]
        folder = out_of(arguments)
        ended = finish(folder)
        for name in ("transform", "transform_inverse"):
            (folder / f"{name}.h5").rename(folder / f"{name}.nrrd")
        batch.record(ended)
    assert set(statuses(batch)) == {"done"} and make(cohort, options=nrrd).pending() == []
    assert make(cohort).pending() == make(cohort, options=[*nrrd[:3], "h5"]).pending() == sorted(batch.targets)
    (cohort / "out" / "a" / "transform_inverse.nrrd").rename(cohort / "out" / "a" / "transform_inverse.h5")
    assert make(cohort, options=nrrd).pending() == ["a"]


def test_a_failure_forgets_an_earlier_result(cohort):
    batch = make(cohort)
    batch.record(finish(out_of(batch.next())))
    (cohort / "scans/a.nii.gz").write_text("another scan")
    batch = make(cohort)
    batch.next()
    batch.record(failed())
    (cohort / "scans/a.nii.gz").write_text("scans/a.nii.gz")
    assert "a" in make(cohort).pending()


def test_the_contact_sheet_follows_the_batch(cohort):
    batch, sheet = make(cohort, left_out=["One was too thin."]), cohort / "out" / "results.html"
    page = sheet.read_text()
    assert "3 waiting" in page and "Reload the page" in page and "One was too thin." in page
    batch.record(finish(out_of(batch.next()), with_verdict("doubtful") | MEASURED))
    batch.record(finish(out_of(batch.next()), with_verdict("good")))
    page = sheet.read_text()
    assert "2 done" in page and page.index(">b</a>") > page.index(">a</a>") and "That was doubtful." in page
    assert "0.200 → 0.700" in page and page.count("no labels") == 1
    batch.next()
    batch.record(failed())
    page = sheet.read_text()
    assert "Reload" not in page and page.index("The scan is empty.") < page.index("That was doubtful.")


def test_a_locked_table_does_not_end_the_run(cohort, monkeypatch):
    batch = make(cohort)
    arguments = batch.next()

    def locked(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("SlicRegLib.images.files.os.replace", locked)
        batch.record(finish(out_of(arguments)))
    assert "Permission denied" in batch.warning and statuses(batch)[0] == "done"
    batch.next()
    batch.record(failed())
    assert batch.warning == "" and [r["status"] for r in table(cohort / "out")] == ["done", "failed", "waiting"]
    assert {p.name for p in (cohort / "out").iterdir()} == {"a", "batch.json", "results.csv", "results.html"}


def test_a_result_without_a_registration_is_refused(cohort):
    with pytest.raises(ValueError, match=r"next"):
        make(cohort).record(failed())


def test_names():
    paths = ["x/pt.nii.gz", "y/PT.nrrd", "y/pt.mha", "a:b?.nii", ".nii", "../..nii", "inputs.mha"]
    names = [name for name, _ in name_scans(paths)]
    assert names == ["pt", "PT_2", "pt_3", "a_b_", "scan", "scan_2", "inputs_2"]


def test_what_cannot_start(cohort):
    (cohort / "empty").mkdir()
    a, template = cohort / "scans/a.nii.gz", cohort / "template.nii.gz"
    for words, call in {
        "no scan": lambda: scans_in(cohort / "empty"),
        "does not exist": lambda: scans_in(cohort / "none"),
        "The template .* does not exist": lambda: make(cohort, template=cohort / "none.nii"),
        "The model .* does not exist": lambda: make(cohort, model=cohort / "none.slicreg"),
        "label map .* does not exist": lambda: make(cohort, template_label=cohort / "none.nii"),
        "no scan to register besides": lambda: make(cohort, targets=[("t", template)]),
        "Several scans are called 'a'": lambda: make(cohort, targets=[("a", a), ("A", cohort / "scans/b.nrrd")]),
        "or no folder can have this name": lambda: make(cohort, targets=[("../a", a)]),
        "cannot be written": lambda: make(cohort, out=template / "out"),
    }.items():
        with pytest.raises(UserError, match=words):
            call()
    assert make(cohort, targets=[("t", template), ("a", a)]).pending() == ["a"]  # the template itself is left out


@pytest.mark.parametrize("name", ["results.csv", "batch.json", "a/warped_labels.nii.gz"])
def test_inputs_are_not_overwritten(cohort, name):
    mine = cohort / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    for changes in ({"others": [mine]}, {"template_label": mine}, {"labels": {"b": mine}}, {"model": mine}):
        with pytest.raises(UserError, match=f"{name} is one of the inputs and would be overwritten"):
            make(cohort, **changes)
    assert mine.read_text() == "mine" and len(list((cohort / "out").rglob("*"))) == len(Path(name).parts)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(cohort):
    os.mkfifo(cohort / "pipe.nii.gz")
    assert make(cohort, targets=[("pipe", cohort / "pipe.nii.gz")]).next()
    for what in ("template", "model", "template_label"):
        with pytest.raises(UserError, match=r"pipe.nii.gz is a device or a pipe; check the file name"):
            make(cohort, **{what: cohort / "pipe.nii.gz"})


def test_real_commands(cohort):
    """Each one fails with its sentence, and the batch comes to its end."""
    batch = make(cohort, options=["--nonsense"])
    while arguments := batch.next():
        process = CommandProcess(arguments)
        process.wait(60)
        batch.record(process)
    errors = {row["error"] for row in table(cohort / "out")}
    assert len(errors) == 1 and "--nonsense" in errors.pop()


def test_parts_of_a_killed_batch_are_removed_and_nothing_else(cohort):
    out = cohort / "out"
    make(cohort)
    parts = [out / f".{name}{files._PART}x.json" for name in ("batch.json", "results.csv")]
    for path in (*parts, out / ".mine"):
        path.write_text("half")
    make(cohort)
    assert not any(path.exists() for path in parts) and (out / ".mine").exists()


def test_two_batches_in_one_folder(cohort):
    """The second one changes nothing and learns who was first; afterwards the folder is free."""
    program = """
        import sys
        from pathlib import Path
        from SlicRegLib.jobs.batch_folder import hold_batch_folder
        with hold_batch_folder(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    """
    out = cohort / "out"
    words = [sys.executable, "-c", textwrap.dedent(program), str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        part = out / f".batch.json{files._PART}x.json"
        part.write_text("being written")
        with pytest.raises(UserError, match=f"A batch is already running in {out} .process {process.pid} of "):
            make(cohort)
        assert part.exists() and not (out / "batch.json").exists()
        with pytest.raises(UserError, match="A batch is already running"), hold_batch_folder(out):
            pass
        process.stdin.close()
        process.wait()
    make(cohort)
    with hold_batch_folder(out):
        make(cohort)  # this process may look at its own
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "batch.json",
        "results.csv",
        "results.html",
    ]


def test_the_first_scan_chooses_the_model_for_all(cohort):
    """Also for a repeated batch with this template, as long as the model is there."""
    batch = make(cohort, model="auto", models=cohort)
    words = batch.next()
    assert words[words.index("--model") + 1] == "auto" and words[words.index("--models") + 1] == str(cohort)
    batch.record(SimpleNamespace(state="failed", error="It cannot be read.", elapsed=1.0, log=""))
    words = batch.next()  # the first one told nothing
    assert words[words.index("--model") + 1] == "auto"
    chosen = cohort / "model.slicreg"
    batch.record(finish(cohort / "out" / "b", {**REPORT, "model": str(chosen)}))
    words = batch.next()
    assert words[words.index("--model") + 1] == str(chosen) and "--models" not in words
    assert "Model: model, chosen automatically for all scans." in batch.summary()

    def status(**changes):
        again = make(cohort, **changes)
        return [row["status"] for row in again.rows()], again.model.name

    assert status(model="auto") == (["waiting", "done", "waiting"], "model.slicreg")
    assert status(model=chosen) == (["waiting", "done", "waiting"], "model.slicreg")
    (cohort / "template.nii.gz").write_text("another one")
    assert status(model="auto") == (["waiting", "waiting", "waiting"], "auto")
