"""Writes the texts of the Slicer module into SlicRegExtension/Resources/Translations/SlicReg_<language>.ts.

Translations that are there are kept, new texts are added as unfinished, texts that are gone are removed. File name,
contexts and attributes are those of Slicer's Utilities/Scripts/update_translations.py and its module Language Tools:
the context of a text in ``_()`` is its file, with the package's name before it; that of a .ui file is its class.

    python Testing/translation_file.py de-DE
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import PySide6

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "SlicRegExtension" / "SlicReg"
FOLDER = ROOT / "SlicRegExtension" / "Resources" / "Translations"
EMPTY = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n<TS version="2.1" language="{}"></TS>\n'


def find_sources() -> list[Path]:
    return [MODULE / "SlicReg.py", *sorted((MODULE / "SlicRegSlicer").glob("*.py"))]


def name_context(path: Path) -> str:
    """The context that `slicer.i18n.tr` looks up for a text of this file."""
    inside = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if inside else path.stem


def update(language: str, folder: Path = FOLDER) -> Path:
    """The file, written. language: such as "de-DE"."""
    path = folder / f"SlicReg_{language}.ts"
    with tempfile.TemporaryDirectory() as copies:
        ts = Path(copies, path.name)
        ts.write_text(path.read_text("utf-8") if path.is_file() else EMPTY.format(language), encoding="utf-8")
        shutil.copy(MODULE / "Resources" / "UI" / "SlicReg.ui", copies)
        for source in find_sources():  # Qt's tool does not know _(), so it reads a copy with the contexts written out
            text = re.sub(r"(?<![\w.])_\(", f'translate("{name_context(source)}", ', source.read_text("utf-8"))
            Path(copies, source.name).write_text(text, encoding="utf-8")
        options = ["-locations", "none", "-no-obsolete", "-disable-heuristic", "sametext"]
        options += ["-disable-heuristic", "similartext", "-silent"]
        tool = Path(PySide6.__file__).with_name("lupdate")
        subprocess.run([tool, *options, "-extensions", "py,ui", copies, "-ts", ts], check=True)
        text = re.sub(r'(<TS [^>]*language=")[^"]*"', rf'\g<1>{language}"', ts.read_text("utf-8"))
    path.write_text(text, encoding="utf-8")
    return path


if __name__ == "__main__":
    print(update(sys.argv[1]))
