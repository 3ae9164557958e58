"""The mutants of a Python source: copies that differ from it in one small fault each.

The operators are the usual ones of mutation testing: other arithmetic, comparison and logic, constants by one up and
down (an axis and an index among them), signs and `not` removed, conditions turned round, one end of a slice left out,
`None` returned, statements removed, `break` for `continue`, and functions changed for their opposite (min and max).
Left as they are: texts, annotations, decorators, and what an exception is made of.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

OTHER_OPERATORS: dict[type, list[type]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Break: [ast.Continue],
    ast.Continue: [ast.Break],
}
KINDS = {
    ast.operator: "arithmetic",
    ast.cmpop: "comparison",
    ast.boolop: "logic",
    ast.stmt: "break and continue",
}
PAIRS = (
    "min max, any all, floor ceil, minimum maximum, clamp_min clamp_max, amin amax, argmin argmax, start stop, "
    "zeros ones, zeros_like ones_like, logical_and logical_or, startswith endswith"
)
OPPOSITES = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
UNTOUCHED = {"annotation", "returns", "decorator_list"}


@dataclass
class Mutant:
    """One change: the ``owner``'s ``field`` (an element of it, where ``index`` is given) becomes ``new``."""

    kind: str
    owner: ast.AST
    field: str
    index: int | None
    new: Any
    shown: ast.AST
    """The expression or statement around the change, to be shown to people."""
    function: str
    line: int

    def _put(self, value: Any) -> Any:
        if self.index is None:
            old = getattr(self.owner, self.field)
            setattr(self.owner, self.field, value)
        else:
            old = getattr(self.owner, self.field)[self.index]
            getattr(self.owner, self.field)[self.index] = value
        return old

    def apply(self, tree: ast.Module, path: str) -> tuple[str, str, str, CodeType | None]:
        """(text before, text after, the whole mutated source, its code); the code is None where it is no Python."""
        before = _text(self.shown)
        old = self._put(self.new)
        try:
            after, source = _text(self.new if self.shown is old else self.shown), ast.unparse(tree)
            try:
                code = compile(ast.fix_missing_locations(tree), path, "exec")
            except (SyntaxError, ValueError):
                code = None
        finally:
            self._put(old)
        return before, after, source, code


def _text(node: ast.AST) -> str:
    """One line of Python; of a statement with a body its head."""
    return ast.unparse(node).split("\n")[0]


def find_mutants(tree: ast.Module) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    yield from sorted(_visit(tree, "", tree), key=lambda mutant: mutant.line)


def _visit(node: ast.AST, function: str, around: ast.AST) -> Iterator[Mutant]:
    """Mutants below ``node``. around: the nearest expression or statement that can be shown."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED or (isinstance(node, ast.ClassDef) and field in ("bases", "keywords")):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.JoinedStr, ast.expr_context)):
                continue
            line = getattr(child, "lineno", getattr(node, "lineno", 1))
            shown = child if isinstance(child, ast.stmt) else node if _can_be_shown(node) else around
            for kind, new in _replacements(child, field):
                yield Mutant(kind, node, field, index, new, shown, function, line)
            if not isinstance(child, ast.Raise):  # only removed
                yield from _visit(child, function, shown)
    if isinstance(node, ast.Slice):
        for field in ("lower", "upper"):
            if getattr(node, field) is not None:
                yield Mutant("slice", node, field, None, None, around, function, node.lineno)


def _can_be_shown(node: ast.AST) -> bool:
    """Whether the node alone tells a reader where a change in it is; -1, 3: and the like do not."""
    small = isinstance(node, (ast.UnaryOp, ast.Slice, ast.Tuple, ast.Constant, ast.Name))
    return isinstance(node, (ast.expr, ast.arguments)) and not small


def _replacements(node: ast.AST, field: str) -> Iterator[tuple[str, Any]]:
    """What can stand in the place of ``node``, with the kind of the change."""
    for other in OTHER_OPERATORS.get(type(node), []):
        yield next(kind for base, kind in KINDS.items() if isinstance(node, base)), other()
    match node:
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
            yield "constant", ast.Constant(value - 1)
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield "sign or not removed", node.operand
        case ast.Name() if node.id in OPPOSITES:
            yield "opposite function", ast.Name(OPPOSITES[node.id], node.ctx)
        case ast.Attribute() if node.attr in OPPOSITES:
            yield "opposite function", ast.Attribute(node.value, OPPOSITES[node.attr], node.ctx)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None", ast.Return(ast.Constant(None))
    turned_already = isinstance(node, (ast.Compare, ast.BoolOp)) or isinstance(getattr(node, "op", None), ast.Not)
    if field in ("test", "ifs") and not turned_already:
        yield "condition turned", ast.UnaryOp(ast.Not(), node)
    if _can_be_removed(node):
        yield "statement removed", ast.Pass()


def _can_be_removed(node: ast.AST) -> bool:
    """A call, a change in place or a `raise`; without a first assignment the names would be missing."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return False  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete():
            return True
        case ast.Assign(targets=[target]):
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            return any(isinstance(part, (ast.Subscript, ast.Attribute)) for part in parts)
    return False
