"""Who imports whom: the import statements of a package's files, anywhere in them, as a graph."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CONSTANTS = {"SlicRegLib.MODELS", "SlicRegLib.__version__"}
"""What a package's own file defines itself, so that importing it is no import of what its other names stand for."""


def modules(folder: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the package in ``folder``; packages go by the names of their folders."""
    names = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(name: str, path: Path, known: set[str]) -> Iterator[str]:
    """Full dotted names that a module imports, whichever way the statement is written, also inside functions.

    Of ``from a import b`` it is a.b where that is one of the ``known`` modules, else a.
    """
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{start}.{alias.name}"
                if whole not in CONSTANTS:
                    yield whole if whole in known else start
        elif isinstance(node, ast.Call) and name.startswith("SlicRegLib"):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert called not in ("import_module", "__import__"), (
                f"{path} imports by name, which this test cannot follow"
            )


def graph(folder: Path) -> dict[str, set[str]]:
    """Each module of the package and all that it imports, of this package and of others."""
    found = modules(folder)
    return {name: set(imported(name, path, set(found))) for name, path in found.items()}


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done or name not in edges:
            return []
        for other in sorted(edges[name]):
            if found := visit(other, (*above, name)):
                return found
        done.add(name)
        return []

    for start in sorted(edges):
        if found := visit(start, ()):
            return found
    return []
