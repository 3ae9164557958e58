"""What is given in place of a file: nothing, a folder, a device or a pipe; none is waited for."""

import os

import pytest

from command_line import is_one_sentence, run
from SlicRegLib.cohort.listing import list_cohort
from SlicRegLib.errors import UserError
from SlicRegLib.images.inputs import check_file
from SlicRegLib.registration.installed_models import add_model, find_model, list_models

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")


@pytest.fixture
def places(tmp_path):
    """Path -> what is said of it."""
    (tmp_path / "folder.slicreg").mkdir()
    os.mkfifo(tmp_path / "pipe.slicreg")
    return {
        tmp_path / "folder.slicreg": "is a folder",
        tmp_path / "pipe.slicreg": "is a device or a pipe",
        "/dev/zero": "is a device or a pipe",
        tmp_path / "none.slicreg": "does not exist",
    }


def test_only_a_regular_file_is_one(places, tmp_path):
    (tmp_path / "file").touch()
    check_file(tmp_path / "file", "cure")
    for path, words in places.items():
        with pytest.raises(UserError, match=rf"^The scan {path} {words}; choose another\.$"):
            check_file(path, "choose another", "The scan")


def test_models(places, tmp_path, capfd):
    for path, words in places.items():
        assert run("info", path) == 2
        assert is_one_sentence(capfd, f"The model {path} {words}; give a model file or the name of a bundled model (")
        with pytest.raises(UserError, match=f"{path} {words}"):
            add_model(path, tmp_path / "models")
    problems = {model.name: model.problem for model in list_models(tmp_path, tmp_path / "none")}
    assert list(problems) == ["folder", "pipe"] and all("It cannot be read (" in text for text in problems.values())


def test_a_bundled_model_is_found_beside_a_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "trunk-phantom").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("trunk-phantom").is_file()


def test_tables_of_scans(tmp_path):
    os.mkfifo(tmp_path / "cohort.csv")
    for path in (tmp_path / "cohort.csv", "/dev/zero"):
        with pytest.raises(UserError, match=f"{path} is a device or a pipe; give a folder of scans or a CSV file"):
            list_cohort(path)
