"""The architecture: folders are floors, imports point one way, and nothing of Slicer is in the library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import SlicRegLib
from imports import cycle, graph, imported, modules

LIBRARY = Path(SlicRegLib.__file__).parent
SLICER_SIDE = LIBRARY.parent / "SlicRegSlicer"
LIMIT = 350  # lines of a file

# from the ground up: a folder imports from those before it, never from those after it or beside it in its row
FLOORS = """
    errors stages option
    progress workers phantoms
    geometry
    images
    network cohort
    registration
    results teaching
    training
    jobs
    cli
    __main__
"""
FLOOR = {folder: floor for floor, row in enumerate(FLOORS.strip().splitlines()) for folder in row.split()}
# what Slicer does not bring: the module must open before it is installed
FROM_PIP = "torch nibabel skimage joblib tqdm matplotlib PIL safetensors filelock psutil tyro jinja2 packaging".split()
FORBIDDEN = {"slicer", "qt", "vtk", "ctk", "PythonQt", "PyQt5", "PySide6", "SlicRegSlicer"}


def folder_of(module: str) -> str:
    """Of SlicRegLib.geometry.grid geometry; of the package itself an empty text."""
    return (module.split(".") + [""])[1]


def violations(edges: dict[str, set[str]]) -> list[str]:
    """Imports that point upwards or sideways between folders, and a circle inside one."""
    found = []
    for name, others in edges.items():
        for other in others:
            if other == "SlicRegLib" and folder_of(name):
                found.append(f"{name} imports the public interface, which stands on everything")
            if other.split(".")[0] != "SlicRegLib" or not folder_of(name) or not folder_of(other):
                continue
            here, there = folder_of(name), folder_of(other)
            if here != there and FLOOR[there] >= FLOOR[here]:
                found.append(f"{name} imports {other}")
    if circle := cycle({name: others - {"SlicRegLib"} for name, others in edges.items()}):
        found.append(" -> ".join(circle))
    return found


@pytest.fixture(scope="module")
def library():
    """The library's import graph without the package's own file, whose lazy imports nothing inside uses."""
    found = modules(LIBRARY)
    return {name: set(imported(name, path, set(found))) for name, path in found.items() if name != "SlicRegLib"}


def test_every_folder_has_its_floor(library):
    assert {folder_of(name) for name in library} == set(FLOOR)


def test_imports_point_down_only(library):
    assert violations(library) == []


def test_turning_any_import_round_is_seen(library):
    """Every import inside the library, written the other way round as well, is reported."""
    edges = [(a, b) for a, others in library.items() for b in others if b in library and folder_of(b)]
    assert len(edges) > 150
    for above, below in edges:
        turned = {**library, below: library[below] | {above}}
        assert violations(turned), (above, below)


@pytest.mark.parametrize(
    "statement",
    [
        "import SlicRegLib.registration.register",
        "import SlicRegLib.registration.register as r",
        "from SlicRegLib.registration import register",
        "from SlicRegLib import register",
        "from SlicRegLib import *",
        "from .. import load_model",
        "import SlicRegLib",
        "import SlicRegLib as lib",
        "from SlicRegLib.registration.register import register",
        "from ..registration import register",
        "from ..registration.register import register",
        "def late():\n    from ..registration.register import register",
    ],
)
def test_an_upward_import_is_seen_however_it_is_written(library, tmp_path, statement):
    """A copy of the geometry's grid with one statement more."""
    copy = tmp_path / "grid.py"
    copy.write_text(f"{modules(LIBRARY)['SlicRegLib.geometry.grid'].read_text()}\n{statement}\n")
    name = "SlicRegLib.geometry.grid"
    mutated = {**library, name: set(imported(name, copy, set(modules(LIBRARY))))}
    assert any(name in text for text in violations(mutated))


def test_the_library_imports_nothing_of_slicer(library):
    for name, others in library.items():
        assert not {other.split(".")[0] for other in others} & FORBIDDEN, name


def test_one_file_imports_vtk(library):
    """Its modules as they are called outside Slicer as well; the film goes without them."""
    found = {name for name, others in library.items() if any(other.startswith("vtkmodules") for other in others)}
    assert found == {"SlicRegLib.results.film_surfaces"}


def test_package_files_are_empty():
    """So that importing one light module imports nothing else."""
    assert [p for p in LIBRARY.rglob("*/__init__.py") if p.read_text().strip()] == []


def test_the_slicer_side_has_no_circles():
    edges = graph(SLICER_SIDE)
    assert cycle(edges) == []
    assert len(edges) > 10


def test_slicer_needs_no_package_that_it_does_not_bring():
    """All that the Slicer side imports of the library at file level works where torch and the like are missing."""
    statements = set()
    for path in [*modules(SLICER_SIDE).values(), LIBRARY.parent / "SlicReg.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "SlicRegLib" in ast.unparse(node):
                statements.add(ast.unparse(node))
    assert statements
    lines = [
        "import sys",
        *(f"sys.modules[{name!r}] = None" for name in FROM_PIP),
        *sorted(statements),
        "print('done')",
    ]
    program = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_no_file_is_too_long():
    files = [*LIBRARY.rglob("*.py"), *SLICER_SIDE.rglob("*.py"), LIBRARY.parent / "SlicReg.py"]
    assert {
        str(p.relative_to(LIBRARY.parent)): n for p in files if (n := len(p.read_text().splitlines())) > LIMIT
    } == {}


def test_cmake_lists_every_file():
    """A file that CMake does not know is missing in the packaged extension."""
    text = (LIBRARY.parent / "CMakeLists.txt").read_text()
    scripts = set(re.search(r"set\(MODULE_PYTHON_SCRIPTS(.*?)\)", text, re.DOTALL)[1].split())
    resources = set(re.search(r"set\(MODULE_PYTHON_RESOURCES(.*?)\)", text, re.DOTALL)[1].split())
    python = {str(p.relative_to(LIBRARY.parent)) for f in (LIBRARY, SLICER_SIDE) for p in f.rglob("*.py")}
    assert scripts == python | {"SlicReg.py"}
    here = LIBRARY.parent
    files = {p for p in [*LIBRARY.rglob("*"), *(here / "Resources").rglob("*")] if p.is_file()}
    assert resources == {str(p.relative_to(here)) for p in files if p.suffix not in (".py", ".pyc", ".typed")}
