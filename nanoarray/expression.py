"""Conditions on the rows of a table, as text: checked node by node, never run as code.

    temperature > 20 and pressure == 8.46 and synthesis_method == 'LARP'

An expression has names of columns (with dots, as ``tiles.stride_px``), numbers, texts, ``True`` and
``False``, the comparisons ``< <= == != >= > in not in``, ``and or not``, the arithmetic ``+ - * /``
and two functions: ``known(name)`` and ``abs(value)``. There is nothing else to call, to index or to
look up.

A value that is not known (NaN, an empty text) is neither equal nor unequal to anything, larger nor
smaller: a row counts only where the expression is surely true. ``sample == ""`` and ``not
known(sample)`` ask for the unknown.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanoarray.errors import InputError

MAX_LENGTH, MAX_NODES, MAX_DEPTH = 2000, 300, 30
#: Numbers that differ by less are equal: 1227 psi is not 8.46 MPa to the last digit.
RELATIVE_TOLERANCE = 1e-6
_LARGEST = 10**300

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_HELP = (
    "expected a condition such as temperature > 20 and sample == 'S1' "
    "(names, numbers, texts; < <= == != >= > in; and or not; + - * /; known(name), abs(value))"
)


@dataclass(frozen=True)
class _Truth:
    """Three-valued truth per row: surely true, surely false, or neither."""

    true: np.ndarray
    false: np.ndarray


@dataclass(frozen=True)
class _Value:
    """A number or a text per row, or one for all rows (``array`` has no dimension then)."""

    array: np.ndarray
    text: bool


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes
    ----------
    text
        As it was written.
    names
        The columns it needs.
    """

    text: str
    names: tuple[str, ...]
    tree: ast.expr

    def rows(self, columns: Mapping[str, np.ndarray], length: int) -> np.ndarray:
        """Whether each row fulfils the expression.

        Parameters
        ----------
        columns
            Arrays of shape (length,): numbers, truth values, or objects that are texts.
        length
            Number of rows.

        Returns
        -------
        np.ndarray of bool, shape (length,)
            False also where it depends on what is not known.

        Raises
        ------
        InputError
            For an unknown column, or a comparison of numbers with texts.
        """
        values = {name: _column(name, columns) for name in self.names}
        result = _evaluate(self.tree, values)
        if isinstance(result, _Value):
            result = _as_truth(result, self.tree)
        return np.broadcast_to(result.true, (length,)).copy()


def parse(text: str) -> Expression:
    """Check an expression, without evaluating anything.

    Raises
    ------
    InputError
        For text that is no expression, too long or too deep, or that holds anything that is not
        listed in this module's description.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"the expression has {len(text)} characters: at most {MAX_LENGTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on style, such as `1 is x`
            tree = ast.parse(text.strip(), mode="eval").body
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise InputError(
            f"cannot read the expression {_short(text)!r}: {reason}; {_HELP}"
        ) from None
    if len(nodes) > MAX_NODES or _depth(tree) > MAX_DEPTH:
        raise InputError(f"the expression {_short(text)!r} is too long or too deeply nested")
    names: dict[str, None] = {}
    _check(tree, names)
    return Expression(text, tuple(names), tree)


def _depth(tree: ast.expr) -> int:
    """Depth of a tree, found without recursion."""
    deepest, todo = 0, [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        todo += [(child, depth + 1) for child in ast.iter_child_nodes(node)]  # type: ignore[misc]
    return deepest


# --- what may stand in an expression ----------------------------------------------------------


def _check(node: ast.expr, names: dict[str, None]) -> None:
    """Refuse every node that is not listed; collect the names of columns."""
    match node:
        case ast.BoolOp(values=parts):
            pass
        case ast.UnaryOp(op=ast.Not() | ast.UAdd() | ast.USub() | ast.Invert(), operand=part):
            parts = [part]
        case ast.BinOp(left=left, op=binary, right=right) if type(
            binary
        ) in _ARITHMETIC or isinstance(binary, ast.BitAnd | ast.BitOr):
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others):
            if any(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                raise _refused(node)
            parts = []
            for op, part in zip(ops, others, strict=True):
                listed = isinstance(op, ast.In | ast.NotIn) and isinstance(
                    part, ast.List | ast.Tuple | ast.Set
                )
                parts += part.elts if listed else [part]  # type: ignore[attr-defined]
            parts.append(left)
        case ast.Call(func=ast.Name(id="known" | "abs" as function), args=[part], keywords=[]):
            if function == "known" and not _name(part):
                raise _refused(node)
            parts = [part]
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            if isinstance(constant, int) and abs(constant) > _LARGEST:
                raise InputError("the expression has a number that is too large")
            parts = []
        case ast.Name() | ast.Attribute():
            name = _name(node)
            if not name:
                raise _refused(node)
            names[name] = None
            parts = []
        case _:
            raise _refused(node)
    for part in parts:
        _check(part, names)


def _name(node: ast.expr) -> str:
    """The dotted name that a node is; "" where it is something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _refused(node: ast.AST) -> InputError:
    return InputError(f"{_short(_source(node))!r} cannot stand in an expression: {_HELP}")


def _source(node: ast.AST) -> str:
    return ast.unparse(node)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- evaluation -------------------------------------------------------------------------------


def _column(name: str, columns: Mapping[str, np.ndarray]) -> _Value:
    if name not in columns:
        valid = sorted(map(str, columns))
        close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join(valid[:40]) + (", ..." if len(valid) > 40 else "")
        raise InputError(f"there is no column {name!r}{hint}: there are {listed or 'none'}")
    array = np.asarray(columns[name])
    return _Value(array, array.dtype.kind in "OUST")


def _evaluate(node: ast.expr, values: Mapping[str, _Value]) -> _Value | _Truth:
    match node:
        case ast.Name() | ast.Attribute():
            return values[_name(node)]
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return _Value(_constant(constant), isinstance(constant, str))
        case ast.Call(func=ast.Name(id="known"), args=[part]):
            known = _known(values[_name(part)])
            return _Truth(known, ~known)
        case ast.Call(args=[part]):
            return _Value(np.abs(_number(part, values)), text=False)
        case ast.BoolOp(op=op, values=parts):
            return _combined(isinstance(op, ast.And), parts, values)
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right):
            return _combined(isinstance(op, ast.BitAnd), [left, right], values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=part):
            truth = _truth(part, values)
            return _Truth(truth.false, truth.true)
        case ast.UnaryOp(op=op, operand=part):
            return _Value(_SIGNS[type(op)](_number(part, values)), text=False)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _number(left, values), _number(right, values)
            with np.errstate(all="ignore"):
                return _Value(_ARITHMETIC[type(op)](a, b), text=False)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            found = [
                _compared(sides[i], op, sides[i + 1], values, node) for i, op in enumerate(ops)
            ]
            return _all(found)
    raise _refused(node)  # what _check lets through is above


def _constant(value: bool | float | str) -> np.ndarray:
    if isinstance(value, str):
        return np.array(value, dtype=object)
    # Whole numbers may be larger than any dtype.
    return np.array(float(value)) if not isinstance(value, bool) else np.array(value)


def _number(node: ast.expr, values: Mapping[str, _Value]) -> np.ndarray:
    value = _evaluate(node, values)
    if isinstance(value, _Truth) or value.text or value.array.dtype.kind == "b":
        raise InputError(f"{_short(_source(node))!r} is no number")
    # Differences of unsigned numbers would wrap around.
    return value.array.astype(np.float64)


def _truth(node: ast.expr, values: Mapping[str, _Value]) -> _Truth:
    value = _evaluate(node, values)
    return value if isinstance(value, _Truth) else _as_truth(value, node)


def _as_truth(value: _Value, node: ast.expr) -> _Truth:
    if value.array.dtype.kind != "b":
        raise InputError(
            f"{_short(_source(node))!r} is no condition: expected a comparison such as "
            "temperature > 20 (use `and`, `or`, `not` between comparisons)"
        )
    return _Truth(value.array, ~value.array)


def _combined(conjunction: bool, nodes: list[ast.expr], values: Mapping[str, _Value]) -> _Truth:
    truths = [_truth(node, values) for node in nodes]
    if conjunction:
        return _all(truths)
    inverse = _all([_Truth(t.false, t.true) for t in truths])
    return _Truth(inverse.false, inverse.true)


def _all(truths: list[_Truth]) -> _Truth:
    """True where all are true, false where any is false."""
    true, false = truths[0].true, truths[0].false
    for truth in truths[1:]:
        true, false = true & truth.true, false | truth.false
    return _Truth(true, false)


def _known(value: _Value) -> np.ndarray:
    if value.text:
        return np.asarray(value.array != "", dtype=bool)
    if value.array.dtype.kind == "f":
        return ~np.isnan(value.array)
    return np.ones(value.array.shape, bool)


def _compared(
    left: ast.expr, op: ast.cmpop, right: ast.expr, values: Mapping[str, _Value], whole: ast.expr
) -> _Truth:
    if isinstance(op, ast.In | ast.NotIn):
        inside = _contained(left, right, values, whole)
        return _Truth(inside.false, inside.true) if isinstance(op, ast.NotIn) else inside
    a, b = _evaluate(left, values), _evaluate(right, values)
    if isinstance(a, _Truth) or isinstance(b, _Truth):
        raise InputError(f"{_short(_source(whole))!r} compares conditions: use and, or, not")
    if a.text != b.text:
        text, number = (left, right) if a.text else (right, left)
        raise InputError(
            f"{_short(_source(whole))!r} compares a text ({_short(_source(text))}) with a number "
            f"({_short(_source(number))})"
        )
    if isinstance(op, ast.Eq | ast.NotEq):
        equal = _equal(a, b, left, right)
        return equal if isinstance(op, ast.Eq) else _Truth(equal.false, equal.true)
    known = _known(a) & _known(b)
    outcome = np.asarray(_COMPARE[type(op)](a.array, b.array), dtype=bool)
    return _Truth(outcome & known, ~outcome & known)


def _equal(a: _Value, b: _Value, left: ast.expr, right: ast.expr) -> _Truth:
    if a.text:
        same = np.asarray(a.array == b.array, dtype=bool)
        if any(isinstance(node, ast.Constant) and node.value == "" for node in (left, right)):
            return _Truth(same, ~same)  # asks for the unknown
    elif "f" in (a.array.dtype.kind, b.array.dtype.kind):
        x, y = a.array.astype(np.float64), b.array.astype(np.float64)
        with np.errstate(all="ignore"):
            scale = RELATIVE_TOLERANCE * np.maximum(np.abs(x), np.abs(y))
            same = (x == y) | (np.isfinite(x) & np.isfinite(y) & (np.abs(x - y) <= scale))
    else:
        same = np.asarray(a.array == b.array, dtype=bool)
    known = _known(a) & _known(b)
    return _Truth(same & known, ~same & known)


def _contained(
    left: ast.expr, right: ast.expr, values: Mapping[str, _Value], whole: ast.expr
) -> _Truth:
    """``x in [a, b]`` is equality with any; ``'LARP' in name`` looks for a part of a text."""
    if isinstance(right, ast.List | ast.Tuple | ast.Set):
        if not right.elts:
            raise InputError(f"{_short(_source(whole))!r} has an empty list")
        each = [_compared(left, ast.Eq(), item, values, whole) for item in right.elts]
        inverse = _all([_Truth(t.false, t.true) for t in each])
        return _Truth(inverse.false, inverse.true)
    part, text = _evaluate(left, values), _evaluate(right, values)
    if isinstance(part, _Truth) or isinstance(text, _Truth) or not (part.text and text.text):
        raise InputError(f"{_short(_source(whole))!r}: `in` looks in a list, or in a text")
    inside = np.asarray(np.frompyfunc(operator.contains, 2, 1)(text.array, part.array), dtype=bool)
    known = _known(part) & _known(text)
    return _Truth(inside & known, ~inside & known)
