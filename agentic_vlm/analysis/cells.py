"""What a cell does to pictures and to numbers, read from its syntax tree.

The tree is walked as it would run: what is known of a value, such as that it is a picture, goes
with the names that hold it, and into the functions and classes that the cell itself defines; those
that it never calls do nothing. Branches are all taken, loops once, and no number is worked out.
"""

import ast
from collections.abc import Callable, Sequence
from typing import Any

from agentic_vlm.analysis.cell_calls import Effect
from agentic_vlm.analysis.cell_expressions import Expressions, Function
from agentic_vlm.analysis.cell_facts import CellFacts
from agentic_vlm.analysis.cell_values import OF_PICTURES, PICTURES, Value, guess_by_name, paints

_MAX_CALLS = 100
"""Calls of a cell's own functions that are followed: what a model writes may call itself."""
_MAX_DEPTH = 8


def read_cell(tree: ast.Module) -> CellFacts:
    """Return what a cell does."""
    reader = _Reader()
    try:
        reader.run(tree.body)
    except RecursionError:
        # Thousands of operands in a row: whatever it is, it is computed.
        reader.facts.computes = True
    return reader.facts


class _Reader(Expressions):
    """Walks statements, and the bodies of functions that are called."""

    def __init__(self) -> None:
        super().__init__(self.follow)
        self._returned: list[Value] = []
        self._active: list[Function] = []
        self._num_calls = 0

    def run(self, body: Sequence[ast.stmt]) -> None:
        """Walk statements in their order."""
        for statement in body:
            rule = _RULES.get(type(statement))
            if rule is not None:
                rule(self, statement)
                continue
            for child in ast.iter_child_nodes(statement):
                self.value(child)

    def follow(self, function: Function, given: Sequence[Value], named: dict[str, Value]) -> Value:
        """Walk the body of one of the cell's own functions; return what it gives back."""
        self._num_calls += 1
        is_deep = len(self._active) >= _MAX_DEPTH or self._num_calls > _MAX_CALLS
        if is_deep or function in self._active:
            self.facts.computes |= is_deep
            return Value.COMPUTED
        outer, self.names = self.names, {**self.names, **_bound(function, given, named)}
        returned, self._returned = self._returned, []
        self._active.append(function)
        if isinstance(function, ast.Lambda):
            self._returned.append(self.value(function.body))
        else:
            self.run(function.body)
        self._active.pop()
        found, self._returned = max(self._returned, default=Value.NOTHING), returned
        # Attributes of objects outlive the call that sets them.
        attributes = {name: value for name, value in self.names.items() if name.startswith(".")}
        self.names = {**outer, **attributes}
        return found

    def _assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is None:
            return
        first = targets[0]
        if isinstance(first, ast.Name) and isinstance(node.value, ast.Lambda):
            self.functions[first.id] = node.value
            return
        computes = self.facts.computes
        value = self.value(node.value)
        if isinstance(first, ast.Name) and isinstance(node.value, ast.Call):
            guess = guess_by_name(first.id)
            if value in (Value.COMPUTED, Value.UNKNOWN) and guess in PICTURES:
                # `img = load_sample(3)`: the name tells what the call does not.
                value, self.facts.computes = guess, computes
        for target in targets:
            if isinstance(target, ast.Subscript):
                self._set_item(target, value)
            else:
                self.bind(target, value)

    def _set_item(self, target: ast.Subscript, value: Value) -> None:
        base, _ = self.value(target.value), self.value(target.slice)
        if base is Value.PICTURE:
            is_drawn = paints(target.slice) and value not in OF_PICTURES
            self.facts.note(Effect.DRAW if is_drawn else Effect.CHANGE)
        elif value in PICTURES and isinstance(target.value, ast.Name):
            self.names[target.value.id] = Value.PICTURES

    def _augment(self, node: ast.AugAssign) -> None:
        both = ast.BinOp(left=_loaded(node.target), op=node.op, right=node.value)
        value = self.value(both)
        if isinstance(node.target, ast.Name):
            self.bind(node.target, value)

    def _loop(self, node: ast.For | ast.AsyncFor) -> None:
        self.bind_each(node.target, node.iter)
        self.run([*node.body, *node.orelse])

    def _branch(self, node: ast.If | ast.While) -> None:
        self.value(node.test)
        self.run([*node.body, *node.orelse])

    def _enter(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            value = self.value(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value)
        self.run(node.body)

    def _attempt(self, node: ast.Try) -> None:
        self.run(node.body)
        for rescue in node.handlers:
            if rescue.name:
                self.names[rescue.name] = Value.NOTHING
            self.run(rescue.body)
        self.run([*node.orelse, *node.finalbody])

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions[node.name] = node

    def _define_class(self, node: ast.ClassDef) -> None:
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        self.methods.update({one.name: one for one in methods})
        self.classes[node.name] = next((one for one in methods if one.name == "__init__"), None)

    def _return(self, node: ast.Return) -> None:
        self._returned.append(self.value(node.value))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        origin = (getattr(node, "module", None) or "").split(".")[0]
        for one in node.names:
            name = one.asname or one.name.split(".")[0]
            is_part = isinstance(node, ast.ImportFrom) and origin != "PIL"
            self.modules[name] = origin if is_part else one.name.split(".")[0]

    def _end_with(self, node: ast.Expr) -> None:
        self.facts.note_use(self.value(node.value))

    def _skip(self, node: ast.stmt) -> None:
        """Pass over what only declares or deletes names, or gives up."""


def _bound(function: Function, given: Sequence[Value], named: dict[str, Value]) -> dict[str, Value]:
    """Return what the parameters of a function stand for."""
    spec = function.args
    names = [one.arg for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    if names[:1] == ["self"]:
        given = [Value.NOTHING, *given]
    bound = {name: guess_by_name(name) for name in names}
    return {**bound, **dict(zip(names, given, strict=False)), **named}


def _loaded(target: ast.expr) -> ast.expr:
    """Return a target of `+=` as what is read there."""
    match target:
        case ast.Name(id=name):
            return ast.Name(id=name, ctx=ast.Load())
        case ast.Subscript(value=base, slice=index):
            return ast.Subscript(value=base, slice=index, ctx=ast.Load())
    return target


_RULES: dict[type[ast.stmt], Callable[[_Reader, Any], None]] = {
    ast.Assign: _Reader._assign,
    ast.AnnAssign: _Reader._assign,
    ast.AugAssign: _Reader._augment,
    ast.For: _Reader._loop,
    ast.AsyncFor: _Reader._loop,
    ast.If: _Reader._branch,
    ast.While: _Reader._branch,
    ast.With: _Reader._enter,
    ast.AsyncWith: _Reader._enter,
    ast.Try: _Reader._attempt,
    ast.FunctionDef: _Reader._define,
    ast.AsyncFunctionDef: _Reader._define,
    ast.ClassDef: _Reader._define_class,
    ast.Return: _Reader._return,
    ast.Import: _Reader._import,
    ast.ImportFrom: _Reader._import,
    ast.Expr: _Reader._end_with,
    ast.Delete: _Reader._skip,
    ast.Global: _Reader._skip,
    ast.Raise: _Reader._skip,
}
