"""Options: each has its text in one place, from which help, tool tips and JSON are made."""

import importlib
import inspect
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated

import pytest

import SlicRegLib
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.options import JobOptions, read_options, write_config
from SlicRegLib.option import Word, describe_options, flag_of, word_of
from SlicRegLib.stages import BY_CLOCK, LEARN, REGISTER

LIBRARY = Path(SlicRegLib.__file__).parent
FILES = [*LIBRARY.rglob("options.py"), LIBRARY / "cli" / "requests.py"]


def option_classes():
    for path in FILES:
        name = ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)
        for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if is_dataclass(cls) and cls.__module__ == name:
                yield pytest.param(cls, id=cls.__name__)


@pytest.mark.parametrize("cls", list(option_classes()))
def test_every_option_has_a_text(cls):
    texts = describe_options(cls)
    bare = [name for name, text in texts.items() if not text and name not in ("registration", "prediction", "alignment",
                                                                           "refinement", "augmentation")]  # fmt: skip
    assert bare == [] and cls.__doc__
    assert cls.__dataclass_params__.frozen
    assert all(text.endswith(".") for text in texts.values() if text)


@dataclass(frozen=True, kw_only=True)
class Base:
    first: int = 1
    """The first,
    in two lines."""
    second: int = 2


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    third_one: Annotated[str, Word("from", "MODEL")] = ""
    """The third."""
    second: int = 3
    """Now with a text."""


def test_texts_are_read_beside_the_fields_and_inherited():
    texts = {"first": "The first,\nin two lines.", "second": "Now with a text.", "third_one": "The third."}
    assert describe_options(Derived) == texts
    assert describe_options(Base)["second"] == ""


def test_flags():
    assert word_of(Derived, "third_one") == Word("from", "MODEL") and word_of(Derived, "first") == Word()
    assert [flag_of(Derived, name) for name in ("first", "third_one")] == ["--first", "--from"]
    assert flag_of(JobOptions, "spacing_mm") == "--spacing" and flag_of(JobOptions, "workers") == "--jobs"
    assert flag_of(JobOptions, "template_label") == "--template-label"


def test_job_options_survive_json(tmp_path):
    options = JobOptions(name="m", template="/t", images="/i", shape=(16, 32, 48), learning_rate=0.1, workers=3)
    write_config(tmp_path, options)
    assert read_options(tmp_path) == options
    write_config(tmp_path, JobOptions(**{**vars(options), "workers": 1}))  # how fast, not what
    with pytest.raises(UserError, match="shape"):
        write_config(tmp_path, JobOptions(**{**vars(options), "shape": None}))


def test_every_training_option_of_a_job_reaches_the_training():
    options = JobOptions(preset="paper", iterations=7, batch=3, learning_rate=0.01, seed=5).training()
    assert (options.iterations, options.batch, options.learning_rate, options.seed) == (7, 3, 0.01, 5)
    assert options.loss_voxels is None and not options.decay  # the preset's own
    frame = JobOptions(spacing_mm=3.0, shape=(16, 16, 32)).preparation()
    assert (frame.spacing_mm, frame.shape) == (3.0, (16, 16, 32))


def test_stages_have_times():
    for stages in (REGISTER, LEARN):
        assert all(seconds > 0 for seconds in stages.values())
    assert {*REGISTER, *LEARN} >= BY_CLOCK


def test_the_public_interface_is_complete():
    """Each name can be imported, and is documented."""
    for name in SlicRegLib.__all__:
        thing = getattr(SlicRegLib, name)
        assert thing is not None and (name == "MODELS" or inspect.getdoc(thing))
    assert set(SlicRegLib.__all__) <= set(dir(SlicRegLib))
    with pytest.raises(AttributeError, match="nonsense"):
        SlicRegLib.nonsense  # noqa: B018
    assert len(fields(SlicRegLib.RegistrationOptions)) == 5
