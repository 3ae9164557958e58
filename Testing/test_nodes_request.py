"""The request of a registration: its options are the library's, and what cannot be registered is refused."""

from dataclasses import fields

import pytest

from scene_samples import add_segmentation, add_volume, make_labels, random_scan
from SlicRegLib import MODELS
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError
from SlicRegLib.registration.options import MODES, AlignmentOptions, RegistrationOptions
from SlicRegLib.results.options import RegisterRequest
from SlicRegLib.stages import CHOICE, LEARN, LEARN_AVERAGE, LOADING, REGISTER
from SlicRegSlicer import stage_texts
from SlicRegSlicer.request import Request

pytest_plugins = ["scene_fixtures"]

MODEL = MODELS / "trunk-phantom.slicreg"
FILES = ["--model", "m", "--template", "f", "--target", "t", "--out", "o"]


def read_words(request: Request) -> RegisterRequest:
    """What the command line makes of a request's words."""
    _command, parsed, _output = parse(["register", *FILES, *request.words()])
    return parsed


def test_defaults_are_those_of_the_library_and_its_command_line():
    request = Request(None, None, MODEL)
    assert request.options() == RegistrationOptions()
    _command, default, _output = parse(["register", *FILES])
    assert read_words(request) == default


def test_every_option_reaches_the_command_line():
    values = {"iterations": 7, "alpha": 0.25, "neighbours": 5, "seed": 3}
    parsed = read_words(Request(None, None, MODEL, device="cuda:1", refine=False, **values))
    assert parsed.device == "cuda:1"
    assert parsed.registration == RegistrationOptions(refine=False, alignment=AlignmentOptions(**values))
    nodes = {"template", "target", "templateSegmentation", "targetSegmentation", "transform", "inverse"}
    nodes |= {"warpedTarget", "warpedSegmentation", "confidence"}
    assert {field.name for field in fields(Request)} == nodes | {
        "model",
        "device",
        "mode",
        "refine",
        "skipped",
        "hidden",
        *values,
    }


def test_an_unknown_output_cannot_be_switched_off():
    for names in ({"skipped": ("warped",)}, {"hidden": ("warped",)}):
        with pytest.raises(UserError, match="no output warped; the outputs are transform"):
            Request(None, None, MODEL, **names)._check_outputs()
    Request(None, None, MODEL, skipped=("inverse",), hidden=("confidence",))._check_outputs()


@pytest.mark.parametrize("mode", MODES)
def test_a_preset_counts_and_not_the_numbers(mode):
    assert read_words(Request(None, None, MODEL, mode=mode, iterations=7)).registration == MODES[mode]


def test_all_stages_have_a_text():
    first, *others = REGISTER
    assert list(stage_texts.REGISTER) == [first, CHOICE, *others, LOADING]
    assert set(stage_texts.LEARN) == {*LEARN, *LEARN_AVERAGE}


@pytest.fixture
def pair(scene, oblique):
    """(template, its segmentation, target, its segmentation) that can be registered."""
    nodes = []
    for name in ("template", "target"):
        nodes.append(add_volume(scene, random_scan(oblique().shape), oblique().affine, name))
        nodes.append(add_segmentation(scene, make_labels(oblique().shape), oblique().affine)[0])
    return nodes


def test_a_pair_with_segmentations_is_accepted(pair):
    template, template_segments, target, target_segments = pair
    Request(template, target, MODEL, template_segments, target_segments).check()


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda r: setattr(r, "target", r.template), "same volume"),
        (lambda r: setattr(r, "target", None), "target volume is not chosen"),
        (lambda r: setattr(r, "model", "no/such.slicreg"), "model no/such.slicreg does not exist"),
        (lambda r: setattr(r, "transform", r.inverse), "Two outputs are the same node"),
        (lambda r: setattr(r, "warpedTarget", r.target), "is an input"),
        (lambda r: setattr(r, "warpedSegmentation", r.templateSegmentation), "is an input"),
        (lambda r: rename_segments(r.targetSegmentation), "no segment name in common"),
        (lambda r: setattr(r, "alpha", -1.0), "alpha must lie between 0 and 1000"),
    ],
)
def test_one_sentence_says_why_a_request_is_refused(scene, pair, change, text):
    template, template_segments, target, target_segments = pair
    request = Request(template, target, MODEL, template_segments, target_segments)
    request.inverse = scene.AddNewNodeByClass("vtkMRMLTransformNode", "inverse")
    request.check()
    change(request)
    with pytest.raises(UserError, match=text):
        request.check()


def rename_segments(node) -> None:
    segmentation = node.GetSegmentation()
    for n in range(segmentation.GetNumberOfSegments()):
        segmentation.GetNthSegment(n).SetName(f"other {n}")
