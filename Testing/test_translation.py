"""Every text that a user of the Slicer module reads can be translated: it stands in ``_()``, as a whole."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "SlicReg"
FILES = [MODULE / "SlicReg.py", *sorted((MODULE / "SlicRegSlicer").glob("*.py"))]
WORDS = re.compile(r"[^\W\d_]{2,}[,;:]? [^\W\d_({]")
TRANSLATING = {"_", "translate"}
NO_TEXT = {"compile", "connect", "RuntimeError", "AssertionError", "TypeError", "ValueError"}
"""Functions whose texts no user reads: patterns, names of signals, defects."""
SHOWING = {
    "UserError",
    "errorDisplay",
    "warningDisplay",
    "infoDisplay",
    "confirmYesNoDisplay",
    "confirmOkCancelDisplay",
}
SHOWING |= {"setText", "setToolTip", "setWindowTitle", "addItem", "setHorizontalHeaderLabels", "delayDisplay"}
"""Functions whose texts a user reads, also those of one word."""
SHOWN = {"text", "toolTip", "title", "windowTitle", "helpText", "acknowledgementText", "placeholderText"}
"""Attributes that are shown."""
EXEMPT = {
    ("SlicReg.py", "SlicReg contributors (SlicReg)"),  # a name
    ("findings.py", "ModuleNotFoundError: No module named 'torch'"),  # Python's own message, which is looked for
    ("sample.py", ": computed, not downloaded"),  # compared by Sample Data
    ("sample.py", "SlicReg organs"),  # nodes that are hidden or removed at once
    ("review_images.py", "SlicReg checkerboard"),
    ("review_images.py", "SlicReg grid"),
    *(("colours.py", f"SlicReg {name}") for name in ("confidence", "amount", "deviation", "volume change")),
    ("review_images.py", "volume change"),
}


def name_call(node: ast.AST) -> str:
    function = getattr(node, "func", None)
    return getattr(function, "id", getattr(function, "attr", ""))


def find_untranslated(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each literal that a user reads without a translation."""
    tree = ast.parse(source)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[^\W\d_]{2,}", node.value)
        ):
            continue
        if node.value.startswith("color:"):  # a style sheet
            continue
        above, inner = parents.get(node), node
        if isinstance(above, ast.Expr):  # a docstring
            continue
        calls, shown = [], False
        while above is not None and not isinstance(inner, ast.stmt):
            if isinstance(above, ast.Call) and inner is not above.func:
                calls.append(name_call(above))
                shown |= name_call(above) in SHOWING and len(calls) == 1
            if isinstance(above, ast.Assign) and not any(calls):
                shown |= any(isinstance(target, ast.Attribute) and target.attr in SHOWN for target in above.targets)
            above, inner = parents.get(above), above
        if not TRANSLATING & set(calls) and not NO_TEXT & set(calls) and (shown or WORDS.search(node.value)):
            yield node.lineno, node.value


def find_broken_translations(source: str) -> Iterator[tuple[int, str]]:
    """Line of each ``_()`` around an f-string or a formatted text: its translation would never be found."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and name_call(node) == "_":
            for argument in node.args:
                if isinstance(argument, ast.JoinedStr) or name_call(argument) == "format":
                    yield node.lineno, ast.unparse(argument)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_all_texts_are_translated(path):
    source = path.read_text(encoding="utf-8")
    assert [found for found in find_untranslated(source) if (path.name, found[1]) not in EXEMPT] == []
    assert list(find_broken_translations(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        'raise UserError("The file is missing; choose another one.")',
        'raise UserError(f"{name} is missing; choose another one.")',
        'label.text = "Done"',
        'label.text = f"Done in {seconds} s"',
        'label.toolTip = missing or "Start"',
        'slicer.util.errorDisplay("Failed")',
        'TEXTS = {"a": "Choose a template."}',
        'box.addItem("Automatic", "auto")',
    ],
)
def test_a_text_without_translation_is_found(source):
    assert list(find_untranslated(source))


@pytest.mark.parametrize(
    "source",
    [
        'label.text = _("Done in {seconds} s").format(seconds=3)',
        'button.connect("clicked(bool)", self.onClick)',
        '"""A docstring of a file."""',
        'KINDS = ("SpinBox", "ComboBox")',
        'pattern = re.compile("out of memory")',
        'parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]',
    ],
)
def test_what_is_translated_or_no_text_is_left_alone(source):
    assert not list(find_untranslated(source)) and not list(find_broken_translations(source))


@pytest.mark.parametrize("source", ['_(f"Done in {n} s")', '_("Done in {n} s".format(n=3))'])
def test_a_formatted_text_is_no_translation(source):
    assert list(find_broken_translations(source))
