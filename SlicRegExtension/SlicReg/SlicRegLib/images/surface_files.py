"""Files of surfaces: VTK's legacy format (.vtk), .ply and .stl. Positions and normals are replaced in place; everything
else is kept byte by byte, so no library for meshes is needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .itk import flip_vectors

Map = Callable[[np.ndarray], np.ndarray]
"""Takes (n, 3) points, RAS mm, to others."""

STEP_MM = 0.5
"""Length of the tangents by which normals are turned, well below the spacing of a field."""
PLY_TYPES = {
    **dict(char="i1", uchar="u1", short="i2", ushort="u2", int="i4", uint="u4", float="f4", double="f8"),
    **dict(int8="i1", uint8="u1", int16="i2", uint16="u2", int32="i4", uint32="u4", float32="f4", float64="f8"),
}
STL = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True, eq=False)
class Surface:
    """The vertices of a file, and how to write it with others in their place."""

    points: np.ndarray
    """(n, 3) float64, RAS mm."""
    normals: np.ndarray | None
    """(n, 3) float64, RAS, where the file has normals of its own."""
    replace: Callable[[np.ndarray, np.ndarray | None], bytes]
    """Takes as many points and normals; returns the file's content."""

    def rewrite(self, move: Map) -> bytes:
        """The file's content with ``move`` applied."""
        normals = None if self.normals is None else turn_normals(self.points, self.normals, move)
        return self.replace(move(self.points), normals)


def turn_normals(points: np.ndarray, normals: np.ndarray, move: Map) -> np.ndarray:
    """(n, 3): the unit normals of a surface after ``move``, by where it takes two tangents; 0 where there was none."""
    helper = np.eye(3)[np.abs(normals).argmin(1)]
    one = _to_unit(np.cross(normals, helper))
    other = _to_unit(np.cross(normals, one))
    one, other = (move(points + STEP_MM * side) - move(points - STEP_MM * side) for side in (one, other))
    return _to_unit(np.cross(one, other))


def parse_surface(content: bytes, suffix: str) -> Surface:
    """The surface in a file of that suffix. Raises ValueError with the reason, KeyError or IndexError."""
    return {".vtk": _parse_vtk, ".ply": _parse_ply, ".stl": _parse_stl}[suffix](content)


def _parse_vtk(content: bytes) -> Surface:
    lines = content.split(b"\n", 3)
    if not content.startswith(b"# vtk DataFile") or len(lines) < 4:
        raise ValueError("it is no file of VTK's legacy format")
    is_lps, form = _is_lps(lines[1]), lines[2].strip().upper()
    if form not in (b"BINARY", b"ASCII"):
        raise ValueError("it is neither ASCII nor BINARY")
    found = re.search(rb"\nPOINTS\s+(\d+)\s+(float|double)[ \t\r]*\n", content)
    if not re.search(rb"\nDATASET\s+(POLYDATA|UNSTRUCTURED_GRID)\s", content) or not found:
        raise ValueError("it holds no surface")
    count = int(found[1])
    blocks = [_Block.find(content, found.end(), count, found[2], form)]
    rest = content[blocks[0].end - 1 :]
    normals = list(re.finditer(rb"\sNORMALS\s+\S+\s+(float|double)[ \t\r]*\n", rest))
    for match in normals:
        start = blocks[0].end - 1 + match.end()
        owners = re.findall(rb"\s(POINT_DATA|CELL_DATA)\s+\d+\s", rest[: match.end()])
        if len(normals) > 1 or not owners or owners[-1] != b"POINT_DATA":
            raise ValueError("its normals are not those of its points")
        blocks.append(_Block.find(content, start, count, match[1], form))

    def replace(points: np.ndarray, turned: np.ndarray | None) -> bytes:
        parts, last = [], 0
        for block, values in zip(blocks, (points, turned), strict=False):
            parts += [content[last : block.start], block.write(_flip(values, is_lps))]
            last = block.end
        return b"".join([*parts, content[last:]])

    return Surface(*_in_ras([block.values for block in blocks], is_lps), replace)


@dataclass(frozen=True, eq=False)
class _Block:
    """(n, 3) numbers in the bytes from ``start`` to ``end`` of a file. kind: of binary ones; None for text."""

    start: int
    end: int
    values: np.ndarray
    kind: np.dtype | None

    @classmethod
    def find(cls, content: bytes, start: int, count: int, name: bytes, form: bytes) -> _Block:
        if form == b"BINARY":
            kind = np.dtype(">f4" if name == b"float" else ">f8")
            end = start + 3 * count * kind.itemsize
            return cls(start, end, _to_points(np.frombuffer(content[start:end], kind), count), kind)
        words = content[start:].split(None, 3 * count)
        rest = len(words[3 * count]) if len(words) > 3 * count else 0
        return cls(start, len(content) - rest, _to_points(np.array(words[: 3 * count], float), count), None)

    def write(self, values: np.ndarray) -> bytes:
        return values.astype(self.kind).tobytes() if self.kind is not None else _to_text(values)


def _parse_ply(content: bytes) -> Surface:
    head = re.match(rb"ply\r?\n.*?\nend_header\r?\n", content, re.DOTALL)
    if not head:
        raise ValueError("it has no header of a .ply file")
    lines = [line.split() for line in head[0].decode("latin-1").splitlines()]
    form = next((line[1] for line in lines if line[:1] == ["format"]), "")
    elements = [n for n, line in enumerate(lines) if line[:1] == ["element"]]
    if not elements or lines[elements[0]][1] != "vertex":
        raise ValueError("its vertices do not come first")
    last = elements[1] if len(elements) > 1 else len(lines)
    properties = {line[-1]: line[1] for line in lines[elements[0] : last] if line[:1] == ["property"]}
    order = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}[form]
    kind = np.dtype([(name, (order or "<") + PLY_TYPES[word]) for name, word in properties.items()])
    count, start, is_lps = int(lines[elements[0]][2]), head.end(), _is_lps(head[0])
    if order:
        end = start + count * kind.itemsize
        table = np.frombuffer(content[start:end], kind).copy()
    else:
        rows = content[start:].split(b"\n", count)
        end = len(content) - (len(rows[count]) if len(rows) > count else 0)
        table = np.array([tuple(map(float, row.split())) for row in rows[:count]], kind)
    if len(table) != count:
        raise ValueError("it ends too early")
    kinds = [tuple("xyz"), *([("nx", "ny", "nz")] if {"nx", "ny", "nz"} <= set(properties) else [])]
    found = [np.stack([table[name].astype(float) for name in names], 1) for names in kinds]

    def replace(points: np.ndarray, turned: np.ndarray | None) -> bytes:
        new = table.copy()
        for names, values in zip(kinds, (points, turned), strict=False):
            for name, column in zip(names, _flip(values, is_lps).T, strict=True):
                new[name] = column
        middle = new.tobytes() if order else b"".join(b" ".join(map(_to_word, row)) + b"\n" for row in new.tolist())
        return content[:start] + middle + content[end:]

    return Surface(*_in_ras(found, is_lps), replace)


def _parse_stl(content: bytes) -> Surface:
    """Its vertices are those of each triangle, whose normal is made of them."""
    is_lps = _is_lps(content[:80])
    if len(content) >= 84 and len(content) == 84 + 50 * int.from_bytes(content[80:84], "little"):
        table = np.frombuffer(content[84:], STL)
        points = table["points"].reshape(-1, 3).astype(float)

        def replace(moved: np.ndarray, _: np.ndarray | None) -> bytes:
            new = table.copy()
            new["points"] = _flip(moved, is_lps).reshape(-1, 3, 3)
            new["normal"] = _to_facets(new["points"].astype(float))
            return content[:84] + new.tobytes()

    else:
        name = re.match(rb"solid[^\n]*\n", content)
        if not name or b"endsolid" not in content[-200:]:
            raise ValueError("it is no .stl file, or ends too early")
        vertices = re.findall(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", content)
        points = _to_points(np.array(vertices, float).ravel(), content.count(b"endfacet") * 3)

        def replace(moved: np.ndarray, _: np.ndarray | None) -> bytes:
            text = [name[0].rstrip(b"\r\n")]
            corners = _flip(moved, is_lps).reshape(-1, 3, 3)
            for normal, corner in zip(_to_facets(corners), corners, strict=True):
                text += [b"facet normal " + b" ".join(map(_to_word, normal)), b" outer loop"]
                text += [b"  vertex " + b" ".join(map(_to_word, point)) for point in corner]
                text += [b" endloop", b"endfacet"]
            return b"\n".join([*text, b"endsolid", b""])

    return Surface(*_in_ras([points], is_lps), replace)


def _is_lps(header: bytes) -> bool:
    """As Slicer writes it into the header; without it LPS, as Slicer reads such files."""
    return not re.search(rb"SPACE=RAS", header)


def _flip(values: np.ndarray | None, is_lps: bool) -> np.ndarray:
    assert values is not None
    return flip_vectors(values) if is_lps else values


def _in_ras(found: list[np.ndarray], is_lps: bool) -> tuple[np.ndarray, np.ndarray | None]:
    points, *normals = (_flip(values, is_lps) for values in found)
    return points, normals[0] if normals else None


def _to_points(values: np.ndarray, count: int) -> np.ndarray:
    if len(values) != 3 * count:
        raise ValueError("it ends too early")
    return values.reshape(-1, 3).astype(float)


def _to_facets(corners: np.ndarray) -> np.ndarray:
    """(n, 3) unit normals of (n, 3, 3) triangles."""
    return _to_unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))


def _to_unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _to_text(values: np.ndarray) -> bytes:
    return b"".join(b" ".join(map(_to_word, row)) + b"\n" for row in values)


def _to_word(value: float) -> bytes:
    return f"{value:.9g}".encode()
