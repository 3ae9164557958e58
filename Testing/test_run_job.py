"""However a training ends, its folder says how, also where it does not get as far as to begin."""

import sys
from types import SimpleNamespace

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.run_job import run_job
from SlicRegLib.jobs.status import read_last_state
from SlicRegLib.progress import silent

OPTIONS = JobOptions(name="m")
LEARN = "SlicRegLib.jobs.learn"


def ending(error: BaseException):
    def learn(folder, options, recorder):
        raise error

    return SimpleNamespace(learn=learn)


@pytest.mark.parametrize(
    "error, state, text",
    [
        (UserError("No scan; add some."), "failed", "No scan; add some."),
        (OSError(28, "No space left", "/x"), "failed", "/x cannot be read or written: the disk is full"),
        (KeyboardInterrupt(), "stopped", ""),
        (ZeroDivisionError("n"), "failed", "ZeroDivisionError"),
    ],
    ids=["mistake", "disk", "stop", "defect"],
)
def test_the_end_is_recorded(tmp_path, monkeypatch, error, state, text):
    monkeypatch.setitem(sys.modules, LEARN, ending(error))
    with pytest.raises(type(error)):
        run_job(tmp_path, OPTIONS, silent)
    last = read_last_state(tmp_path)
    assert last.state == state and text in last.error
    assert ("Traceback" in (tmp_path / "job.log").read_text()) == isinstance(error, ZeroDivisionError)


def test_a_package_that_cannot_be_imported_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, LEARN, None)
    with pytest.raises(ImportError):
        run_job(tmp_path, OPTIONS, silent)
    assert read_last_state(tmp_path).state == "failed" and "ModuleNotFoundError" in read_last_state(tmp_path).error
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_a_model_that_was_made(tmp_path, monkeypatch):
    monkeypatch.setitem(
        sys.modules, LEARN, SimpleNamespace(learn=lambda folder, options, recorder: folder / "m.slicreg")
    )
    assert run_job(tmp_path, OPTIONS, silent) == tmp_path / "m.slicreg"
    assert read_last_state(tmp_path).state == "finished" and read_last_state(tmp_path).fraction == 1
