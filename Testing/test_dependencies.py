"""The documents' table of dependencies is that of pyproject.toml; and nothing needs a newer Python."""

import ast
import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # since Python 3.11

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| ([\w, -]+?)(?: \(`(\w+)`\))? \| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|$", re.M)
REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[\w+\])?\s*(?:[><=]=([\w.]+))?")


def listed() -> dict[tuple[str, str], str]:
    """(name, extra): lowest version, of each package in the table; "any" for no bound."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Dependencies")[1]
    found = {}
    for names, extra, versions, licence, purpose in ROW.findall(text):
        if names != "package" and set(versions) != {"-"}:
            assert licence.strip() and purpose.strip()
            for name, version in zip(names.split(", "), versions.split(", "), strict=True):
                found[name.lower(), extra] = version
    return found


def required() -> dict[tuple[str, str], str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {}
    for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for name, version in (REQUIREMENT.match(line).groups() for line in lines):
            found[name.lower(), extra] = version or "any"
    return found


def test_the_table_has_every_dependency_with_its_lowest_version():
    """convexAdam, distributed and imageio-ffmpeg are in the extra for tests as well."""
    table, needed = listed(), required()
    assert len(table) > 20
    optional = {name for name, extra in table if extra in ("train", "cluster", "film")}
    optional -= {name for name, extra in table if extra == "test"}  # vtk: another version
    assert {key: version for key, version in needed.items() if not (key[0] in optional and key[1] == "test")} == table
    assert all(needed[name, "test"] == table[name, extra] for name, extra in table if name in optional)


def test_no_named_tuple_has_another_base():
    """Python 3.10 refuses it at the import; linters and type checkers do not tell."""
    for path in (ROOT / "SlicRegExtension").rglob("*.py"):
        classes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ClassDef)]
        for bases in ([ast.unparse(base) for base in one.bases] for one in classes):
            assert len(bases) == 1 or not any(base.endswith("NamedTuple") for base in bases), path
