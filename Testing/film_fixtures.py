"""Fixtures of the tests of films; a test file takes them with ``pytest_plugins``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from film_samples import write_result


@pytest.fixture
def in_this_process(monkeypatch):
    """What a command does in a process of its own is done here."""
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", True)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A result; not to be changed."""
    return write_result(tmp_path_factory.mktemp("film") / "result")


@pytest.fixture
def result(made, tmp_path) -> Path:
    """A copy to change."""
    shutil.copytree(made, tmp_path / "result")
    return tmp_path / "result"
