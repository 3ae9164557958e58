"""Options: each has its text in one place, from which help, tool tips and JSON are made."""

import importlib
import inspect
import json
import math
import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import SlicRegLib
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.learn import make_train_request
from SlicRegLib.jobs.options import JobOptions, read_options, write_config
from SlicRegLib.option import Range, Word, describe_options, find_problems, find_range, flag_of, word_of
from SlicRegLib.stages import BY_CLOCK, FILM, LEARN, REGISTER
from SlicRegLib.teaching.study import Study

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


def test_every_training_option_of_a_job_reaches_the_training(tmp_path):
    job = JobOptions(preset="paper", iterations=7, batch=3, learning_rate=0.01, seed=5, loss_voxels=99)
    study = Study(tmp_path, "", "", "", None, None, [])
    assert make_train_request(study, tmp_path / "m.slicreg", job).training() == job.training()
    options = job.training()
    assert (options.iterations, options.batch, options.learning_rate, options.seed) == (7, 3, 0.01, 5)
    assert options.loss_voxels == 99 and not options.decay  # the preset's own
    frame = JobOptions(spacing_mm=3.0, shape=(16, 16, 32)).preparation()
    assert (frame.spacing_mm, frame.shape) == (3.0, (16, 16, 32))


def test_a_job_of_the_paper_from_before_goes_on_with_its_loss_at_all_voxels(tmp_path):
    write_config(tmp_path, JobOptions(preset="paper"))
    config = tmp_path / "job.json"
    content = json.loads(config.read_text())
    del content["loss_voxels"]
    config.write_text(json.dumps(content))
    assert read_options(tmp_path).training().loss_voxels is None


def test_stages_have_times():
    for stages in (REGISTER, LEARN, FILM):
        assert all(seconds > 0 for seconds in stages.values())
    assert {*REGISTER, *LEARN, *FILM} >= BY_CLOCK


def test_the_public_interface_is_complete():
    """Each name can be imported, and is documented."""
    for name in SlicRegLib.__all__:
        thing = getattr(SlicRegLib, name)
        assert thing is not None and (name == "MODELS" or inspect.getdoc(thing))
    assert set(SlicRegLib.__all__) <= set(dir(SlicRegLib))
    with pytest.raises(AttributeError, match="nonsense"):
        SlicRegLib.nonsense  # noqa: B018
    assert len(fields(SlicRegLib.RegistrationOptions)) == 5


# ---- ranges: every number has one, and whatever is given is taken or refused in one sentence -----------------------


@dataclass(frozen=True, kw_only=True)
class Limited:
    count: Annotated[int, Range(1, 64)] = 1
    """A count."""
    share: Annotated[float | None, Range(0, 1)] = None
    sizes: Annotated[tuple[int, int] | None, Range(2, 8)] = None
    many: Annotated[tuple[float, ...], Range(-1, 1)] = ()
    kind: Literal["a", "b"] = "a"
    flag: bool = False


@pytest.mark.parametrize(
    "given, problem",
    [
        ({}, None),
        ({"count": 64, "share": 1, "sizes": (2, 8), "many": (-1.0, 0.5, 1)}, None),
        ({"count": 0}, "count must lie between 1 and 64 (got 0)"),
        ({"count": 10**400}, "count must lie between 1 and 64 (got a huge number)"),
        ({"count": 2.0}, "count must be a whole number (got 2.0)"),
        ({"count": True}, "count must be a whole number (got True)"),
        ({"share": float("nan")}, "share must be a finite number (got nan)"),
        ({"share": float("-inf")}, "share must be a finite number (got -inf)"),
        ({"share": -1e-9}, "share must lie between 0 and 1 (got -1e-09)"),
        ({"share": "1"}, "share must be a number (got 1)"),
        ({"sizes": (2, 9)}, "sizes must lie between 2 and 8 (got 9)"),
        ({"sizes": (2, 3, 4)}, "sizes must be 2 numbers (got (2, 3, 4))"),
        ({"many": (0.0, float("inf"))}, "many must be a finite number (got inf)"),
        ({"kind": "c"}, "kind must be one of a, b (got c)"),
        ({"kind": "x\n" * 50}, "kind must be one of a, b (got " + (r"x\n" * 50)[:40] + "...)"),
        ({"flag": 1}, "flag must be true or false (got 1)"),
    ],
    ids=str,
)
def test_what_is_outside_its_range_is_named_with_the_range(given, problem):
    assert find_problems(Limited(**given)) == ([(True, problem)] if problem else [])


def test_ranges_are_part_of_the_description():
    assert describe_options(Limited)["count"] == "A count. From 1 to 64."


def numbers_of(cls):
    """(name, type) of each field that holds numbers."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if {int, float} & set(_leaves(hint)):
            yield name, hint


def _leaves(hint):
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        return _leaves(parts[0])
    if get_origin(hint) is Literal or not parts:
        return [hint]
    return [leaf for part in parts for leaf in _leaves(part)]


@pytest.mark.parametrize("cls", list(option_classes()))
def test_every_number_has_a_range(cls):
    assert [name for name, hint in numbers_of(cls) if find_range(hint) is None] == []


EXTREMES = [0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, -0.0]


def values(hint):
    """Values of an option's type, most of them extreme, some of another type."""
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        near = [
            value for part in parts[1:] if isinstance(part, Range) for value in (part.low, part.high, part.high * 2)
        ]
        return st.sampled_from(near) | values(parts[0]) if near else values(parts[0])
    if get_origin(hint) is Literal:
        return st.sampled_from([*parts, "", "other"])
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*map(values, parts))
    if get_origin(hint) is tuple:
        return st.lists(st.sampled_from(EXTREMES) | st.integers() | st.floats(), max_size=5).map(tuple)
    if hint in (int, float):
        return st.sampled_from(EXTREMES) | st.integers() | st.floats() | st.sampled_from(["7", None, True, [], {}])
    if hint is bool:
        return st.booleans() | st.sampled_from([0, "no", None])
    if hint is str:
        return st.text(max_size=20)
    if hint is Path:
        return st.just(Path("x"))
    if hint is type(None):
        return st.none()
    assert is_dataclass(hint), f"tell this test how to make {hint}"
    return st.just(hint())


@pytest.mark.parametrize("cls", list(option_classes()))
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_is_taken_or_refused_in_one_sentence(cls, data):
    """A value that was taken lies in its range; nothing else than a UserError is raised."""
    hints = get_type_hints(cls, include_extras=True)
    needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    chosen = data.draw(st.lists(st.sampled_from([f.name for f in fields(cls)]), unique=True, min_size=1, max_size=3))
    given = {name: data.draw(values(hints[name]), label=name) for name in {*needed, *chosen}}
    refused = ""
    try:
        options = cls(**given)
        for make in ("preparation", "training", "job"):  # what is made of a request before its work begins
            if callable(part := getattr(options, make, None)):
                part()
    except UserError as error:
        refused = str(error)
    if refused:
        assert refused.endswith(".") and "\n" not in refused
        return
    for name, hint in numbers_of(cls):
        value, allowed = getattr(options, name), find_range(hint)
        for number in value if isinstance(value, tuple) else [value]:
            assert number is None or allowed.low <= number <= allowed.high
