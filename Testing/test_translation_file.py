"""The German texts of the module fit its code, and Qt compiles and finds them as Slicer does."""

import ast
import re
import string
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import PySide6
import pytest
from PySide6.QtCore import QTranslator

from translation_file import FOLDER, MODULE, find_sources, name_context, update

UI = MODULE / "Resources" / "UI" / "SlicReg.ui"
FILES = sorted(FOLDER.glob("*.ts"))


def read(path: Path) -> dict[tuple[str, str], str | None]:
    """{(context, text): translation}; None where it is unfinished."""
    found = {}
    for context in ElementTree.parse(path).getroot().findall("context"):
        for message in context.findall("message"):
            translation = message.find("translation")
            text = translation.text if translation.get("type") != "unfinished" else None
            found[context.findtext("name"), message.findtext("source")] = text
    return found


def texts_of_the_code() -> set[tuple[str, str]]:
    """(context, text) of every ``_()`` and ``translate()`` with a literal, as Python reads it."""
    found = set()
    for path in find_sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "_" and isinstance(node.args[0], ast.Constant):
                found.add((name_context(path), node.args[0].value))
            elif node.func.id == "translate":
                found.add(tuple(argument.value for argument in node.args))
    return found


def texts_of_the_panel() -> dict[str, str]:
    """{text: name of its tab} of what Qt translates in the .ui file."""
    tree, found = ElementTree.parse(UI).getroot(), {}
    for tab in tree.find(".//widget[@name='tabs']").findall("widget"):
        for owner in (*tab.iter("property"), *tab.iter("attribute")):
            for entry in owner.findall("string"):
                if entry.text and entry.get("notr") != "true":
                    found.setdefault(entry.text, tab.get("name"))
    return found


def placeholders(text: str) -> set[tuple]:
    return {(name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None}


def test_there_is_a_german_file_that_language_tools_takes():
    """It copies <component>_<language>.ts by the language that the file names."""
    assert [path.name for path in FILES] == ["SlicReg_de-DE.ts"]
    assert ElementTree.parse(FILES[0]).getroot().get("language") == "de-DE"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_text_is_in_the_code(path):
    wanted = texts_of_the_code() | {("SlicReg", text) for text in texts_of_the_panel()}
    stale = [key for key in read(path) if key not in wanted]
    assert stale == [], "run python Testing/translation_file.py de-DE"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_placeholders_and_links_are_kept(path):
    """Slicer shows the English text instead of a translation with other placeholders."""
    for (context, text), translation in read(path).items():
        if translation is not None:
            assert placeholders(translation) == placeholders(text), (context, text)
            assert re.findall('href="(.*?)"', translation) == re.findall('href="(.*?)"', text)
            assert text.endswith("...") == translation.endswith("..."), text


def test_all_texts_are_in_german():
    wanted = texts_of_the_code() | {("SlicReg", text) for text in texts_of_the_panel()}
    assert len(wanted) > 400
    known = read(FILES[0])
    unknown = [key for key in wanted if not known.get(key)]
    assert unknown == [], "run python Testing/translation_file.py de-DE and translate the new texts"


def test_names_of_parameters_are_no_texts():
    """A translated name would tie the widget to no parameter."""
    names = ElementTree.parse(UI).getroot().findall(".//property[@name='SlicerParameterName']/string")
    assert len(names) > 20 and all(name.get("notr") == "true" for name in names)


def test_qt_compiles_the_file_and_finds_the_texts(tmp_path):
    """The translator is asked with the contexts that `slicer.i18n.tr` and Qt's form loader use."""
    compiled = tmp_path / "SlicReg_de-DE.qm"
    tool = Path(PySide6.__file__).with_name("lrelease")
    subprocess.run([tool, "-silent", FILES[0], "-qm", compiled], check=True)
    translator = QTranslator()
    assert translator.load(str(compiled))
    assert translator.translate("SlicReg", "Apply") == "Anwenden"
    text = "Done in {seconds:.1f} s on {device}."
    done = translator.translate("SlicRegSlicer.registration_tab", text)
    assert done.format(seconds=5.04, device="CPU") == "Fertig in 5.0 s auf CPU."
    assert not translator.translate("SlicRegSlicer.panel", text)
    known = {key: german for key, german in read(FILES[0]).items() if german}
    assert {key: translator.translate(*key) for key in known} == known


def test_an_update_keeps_translations_and_adds_new_texts(tmp_path):
    """From a file with one known and one stale text: Qt's tool and Python find the same texts."""
    path = tmp_path / "SlicReg_de-DE.ts"
    message = "<message><source>{}</source><translation>{}</translation></message>"
    messages = message.format("Apply", "Los") + message.format("Gone", "Weg")
    path.write_text(f'<TS version="2.1" language="de-DE"><context><name>SlicReg</name>{messages}</context></TS>')
    found = read(update("de-DE", tmp_path))
    assert set(found) == texts_of_the_code() | {("SlicReg", text) for text in texts_of_the_panel()}
    assert {key: text for key, text in found.items() if text} == {("SlicReg", "Apply"): "Los"}
