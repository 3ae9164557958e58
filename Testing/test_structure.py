"""The architecture: no Slicer, Qt or VTK in the library, and imports that point one way only."""

import ast
from pathlib import Path

import pytest

import SlicRegLib

# each row imports only from rows above it
LAYERS = """
    errors geometry progress phantoms networks estimate processes
    warping metrics devices files ranks
    volumes jobfolder
    preparation
    supervision supervoxels cohort quality
    deeds study
    dataset
    prediction
    training alignment
    bundle refinement
    registration
    evaluation report overlays
    commands trainingreport
    demo learning
    __main__
"""
ROWS = {module: row for row, line in enumerate(LAYERS.split("\n")) for module in line.split()}
MODULES = {p.stem: p for p in Path(SlicRegLib.__file__).parent.glob("*.py") if p.stem != "__init__"}
FORBIDDEN = {"slicer", "qt", "vtk", "ctk", "PythonQt", "PyQt5", "PySide6"}


def imports(path):
    """(modules of this package, top-level packages) that a file imports anywhere, also inside functions."""
    own, other = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ("SlicRegLib." if node.level else "") + (node.module or "")
            names = [base + alias.name for alias in node.names] if base.endswith(".") else [base]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            own.update(
                [rest.split(".")[0]]
                if package == "SlicRegLib" and rest and not (rest.startswith("__") or rest.isupper())
                else []
            )
            other.add(package)
    return own, other


def test_every_module_has_its_row():
    assert set(MODULES) == set(ROWS)


SLICER_LAYERS = """
    translation
    nodes job models sample batch widgets
    review installation training
    run
    parameters
    logic
    training_panel
    panel
"""


LIGHT = {
    "SlicRegLib",
    *(f"SlicRegLib.{module}" for module in ("errors", "files", "phantoms", "estimate", "processes", "jobfolder")),
}


def test_the_slicer_side_points_one_way_and_imports_only_errors_of_the_library():
    rows = {module: row for row, line in enumerate(SLICER_LAYERS.split("\n")) for module in line.split()}
    folder = Path(SlicRegLib.__file__).parents[1] / "SlicRegSlicer"
    files = {p.stem: p for p in folder.glob("*.py") if p.stem != "__init__"}
    assert set(files) == set(rows)
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                above = [node.module] if node.module else [alias.name for alias in node.names]
                assert all(rows[module] < rows[name] for module in above), (name, above)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("SlicRegLib"):
                assert node.module in LIGHT, (name, node.module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_upwards_and_stay_out_of_slicer(module):
    own, other = imports(MODULES[module])
    assert not other & FORBIDDEN
    assert [name for name in own if ROWS[name] >= ROWS[module]] == []
