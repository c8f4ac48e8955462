"""What the expressions of a cell give, and what is done on the way."""

import ast
import builtins
from collections.abc import Callable, Sequence
from typing import Any

from agentic_vlm.analysis import cell_words as words
from agentic_vlm.analysis.cell_calls import (
    Called,
    Effect,
    arranges,
    judge_call,
    last_name,
    root_name,
)
from agentic_vlm.analysis.cell_facts import CellFacts
from agentic_vlm.analysis.cell_values import (
    OF_PICTURES,
    PICTURES,
    WRITTEN,
    Value,
    cuts_out,
    guess_by_name,
    swaps_colours,
    written_value,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Follow = Callable[[Function, Sequence[Value], dict[str, Value]], Value]
"""Walks the body of a function and returns what it gives back."""
_BUILTINS = frozenset(dir(builtins))
_PICTURE_ATTRIBUTES = frozenset({"image", "img", "picture", "photo"})


class Expressions:
    """Works out what expressions stand for and notes what they do."""

    def __init__(self, follow: Follow) -> None:
        self.facts = CellFacts()
        self.names: dict[str, Value] = {}
        """What names stand for; attributes of the cell's own objects begin with a point."""
        self.modules: dict[str, str] = {}
        """Imported names and the modules that they come from."""
        self.functions: dict[str, Function] = {}
        self.methods: dict[str, ast.FunctionDef] = {}
        self.classes: dict[str, ast.FunctionDef | None] = {}
        """Classes of the cell and their constructors."""
        self._follow = follow
        self._picture_axes: set[str] = set()

    def value(self, node: ast.AST | None) -> Value:
        """Return what an expression stands for; note what it does."""
        if node is None:
            return Value.NOTHING
        rule = _RULES.get(type(node))
        return self._highest(node) if rule is None else rule(self, node)

    def bind(self, target: ast.expr, value: Value) -> None:
        """Let a target stand for a value."""
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Attribute(attr=name):
                self.names[f".{name}"] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.bind(part, Value.PICTURE if value is Value.PICTURES else value)
            case ast.Starred(value=inner):
                self.bind(inner, value)

    def bind_each(self, target: ast.expr, source: ast.expr) -> None:
        """Let the target of a loop stand for what it goes through."""
        whole = self.value(source)
        each = Value.PICTURE if whole is Value.PICTURES else whole
        match source, target:
            case ast.Call(func=ast.Name(id="zip"), args=args), ast.Tuple(elts=parts) if len(
                args
            ) == len(parts):
                for part, arg in zip(parts, args, strict=True):
                    of_arg = self.value(arg)
                    self.bind(part, Value.PICTURE if of_arg is Value.PICTURES else of_arg)
            case (
                (
                    ast.Call(func=ast.Name(id="enumerate"))
                    | ast.Call(func=ast.Attribute(attr="items"))
                ),
                ast.Tuple(elts=[counter, item]),
            ):
                self.bind(counter, Value.TEXT)
                self.bind(item, each)
            case _:
                self.bind(target, each)

    def _highest(self, node: ast.AST) -> Value:
        return max(map(self.value, ast.iter_child_nodes(node)), default=Value.NOTHING)

    def _constant(self, node: ast.Constant) -> Value:
        return written_value(node.value)

    def _name(self, node: ast.Name) -> Value:
        found = self._look_up(node.id)
        self.facts.reads_earlier_names |= found is Value.UNKNOWN and node.id not in self.names
        return found

    def _look_up(self, name: str) -> Value:
        if name in self.names:
            return self.names[name]
        if name in self.functions or name in self.classes or name in self.modules:
            return Value.NOTHING
        if name in words.MODULES or name in _BUILTINS or name == "__name__":
            return Value.NOTHING
        return guess_by_name(name)

    def _attribute(self, node: ast.Attribute) -> Value:
        base, name = self.value(node.value), node.attr
        if base is Value.EXTENT or (name in words.EXTENTS and base in OF_PICTURES):
            return Value.EXTENT
        if base in PICTURES:
            return Value.DERIVED if name in words.MEASURES else Value.NOTHING
        if f".{name}" in self.names and base <= Value.UNKNOWN:
            return self.names[f".{name}"]
        is_held = name in _PICTURE_ATTRIBUTES and base in (Value.NOTHING, Value.UNKNOWN)
        return Value.PICTURE if is_held else base

    def _item(self, node: ast.Subscript) -> Value:
        base, index = self.value(node.value), node.slice
        self.value(index)
        parts = index.elts if isinstance(index, ast.Tuple) else []
        spans = [isinstance(at, ast.Name) and self._look_up(at.id) is Value.SPAN for at in parts]
        is_table = isinstance(node.value, ast.Attribute) and node.value.attr in ("loc", "iloc")
        may_be_picture = base in (Value.UNKNOWN, Value.DERIVED, Value.PICTURE) and not is_table
        if may_be_picture and cuts_out(index, base, spans=spans):
            self.facts.note(Effect.CROP)
            return Value.PICTURE
        has_slice = any(isinstance(at, ast.Slice) for at in (index, *parts))
        if base is Value.PICTURE and not swaps_colours(index):
            if has_slice:
                self.facts.note(Effect.CHANGE)
            return Value.PICTURE if has_slice else Value.DERIVED
        if base is Value.PICTURES:
            return base if has_slice else Value.PICTURE
        if base in WRITTEN and has_slice:
            self.facts.note(Effect.COMPUTE)
            return Value.COMPUTED
        return base

    def _text(self, node: ast.JoinedStr) -> Value:
        found = self._highest(node)
        self.facts.note_use(Value.DERIVED if found is Value.EXTENT else found)
        return Value.TEXT if found in WRITTEN else found

    def _operate(self, node: ast.BinOp | ast.BoolOp | ast.UnaryOp) -> Value:
        values = [self.value(child) for child in ast.iter_child_nodes(node)]
        highest = max(values)
        if highest in OF_PICTURES:
            self.facts.note(Effect.CHANGE)
            return Value.PICTURE if highest is Value.PICTURE else Value.DERIVED
        is_text = highest in WRITTEN and Value.TEXT in values
        if is_text or (isinstance(node, ast.UnaryOp) and highest in WRITTEN):
            # Lines of dashes, texts put together, signs of numbers.
            return Value.TEXT if is_text else highest
        self.facts.note(Effect.COMPUTE)
        return Value.COMPUTED

    def _compare(self, node: ast.Compare) -> Value:
        sides = [node.left, *node.comparators]
        if any(isinstance(at, ast.Constant) and at.value is None for at in sides):
            return Value.NOTHING
        if isinstance(node.left, ast.Name) and node.left.id == "__name__":
            return Value.NOTHING
        of_pictures = max(map(self.value, sides)) in OF_PICTURES
        self.facts.note(Effect.CHANGE if of_pictures else Effect.COMPUTE)
        return Value.DERIVED if of_pictures else Value.COMPUTED

    def _go_through(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> Value:
        for one in node.generators:
            self.bind_each(one.target, one.iter)
            for condition in one.ifs:
                self.value(condition)
        if isinstance(node, ast.DictComp):
            self.value(node.key)
        found = self.value(node.value if isinstance(node, ast.DictComp) else node.elt)
        return Value.PICTURES if found is Value.PICTURE else found

    def _gather(self, node: ast.List | ast.Tuple | ast.Set | ast.Dict) -> Value:
        parts = node.values if isinstance(node, ast.Dict) else node.elts
        found = max(map(self.value, parts), default=Value.NOTHING)
        return Value.PICTURES if found is Value.PICTURE else found

    def _bind_here(self, node: ast.NamedExpr) -> Value:
        found = self.value(node.value)
        self.bind(node.target, found)
        return found

    def _call(self, node: ast.Call) -> Value:
        name, holder = last_name(node.func), getattr(node.func, "value", None)
        receiver = self._receiver(node.func)
        own = self._own_function(node.func, name)
        if own is None and receiver not in PICTURES and arranges(name):
            if name in words.FRESH_FIGURE:
                self._picture_axes.clear()
            return Value.NOTHING
        args = tuple(self._argument(one) for one in node.args)
        keywords = {one.arg or "": self._argument(one.value) for one in node.keywords}
        if own is not None:
            return self._follow(own, args, keywords)
        if isinstance(node.func, ast.Name) and name in self.classes:
            start = self.classes[name]
            return Value.NOTHING if start is None else self._follow(start, args, keywords)
        axes = ast.dump(holder) if isinstance(holder, ast.Subscript) else root_name(node.func)
        called = Called(
            node=node, name=name, root=self._module_of(node.func), receiver=receiver,
            receiver_name=holder.id if isinstance(holder, ast.Name) else "",
            args=args, keywords=keywords,
            on_picture_axes=axes in self._picture_axes or "plt" in self._picture_axes,
        )  # fmt: skip
        return self._note_call(called, axes)

    def _note_call(self, called: Called, axes: str) -> Value:
        node, name = called.node, called.name
        effect, found = judge_call(called)
        if name == "slice":
            found = Value.SPAN
        if effect is Effect.CROP and name == "crop" and self._is_whole(node):
            return Value.PICTURE
        self.facts.note(effect)
        if effect is Effect.SHOW:
            for value in (called.receiver, *called.args):
                self.facts.note_use(value)
            if name == "imshow":
                self._picture_axes.add(axes)
            elif name in words.FRESH_FIGURE:
                self._picture_axes.clear()
            if name == "save" and node.args and isinstance(node.args[0], ast.Name):
                self.names[node.args[0].id] = called.receiver
        if name in ("append", "extend") and called.first in PICTURES and called.receiver_name:
            self.names[called.receiver_name] = Value.PICTURES
        return found

    def _argument(self, node: ast.expr) -> Value:
        """Return the value of an argument; a function that is handed over is walked, too."""
        function: Function | None = node if isinstance(node, ast.Lambda) else None
        if isinstance(node, ast.Name):
            function = self.functions.get(node.id)
        return self.value(node) if function is None else self._follow(function, (), {})

    def _receiver(self, func: ast.expr) -> Value:
        match func:
            case ast.Attribute(value=ast.Name(id=name)):
                return self._look_up(name)
            case ast.Attribute(value=inner):
                return self.value(inner)
            case ast.Name():
                return Value.NOTHING
        return self.value(func)

    def _own_function(self, func: ast.expr, name: str) -> Function | None:
        if isinstance(func, ast.Name):
            return self.functions.get(name)
        return self.methods.get(name) if isinstance(func, ast.Attribute) else None

    def _module_of(self, func: ast.expr) -> str:
        root = root_name(func)
        return self.modules.get(root, root if root in words.MODULES else "")

    def _is_whole(self, node: ast.Call) -> bool:
        """Tell whether a crop keeps all of the picture: `(0, 0, width, height)`."""
        match [*node.args, *(word.value for word in node.keywords)]:
            case [ast.Tuple(elts=[ast.Constant(value=0), ast.Constant(value=0), right, below])]:
                return self.value(right) is self.value(below) is Value.EXTENT
        return False


_RULES: dict[type[ast.AST], Callable[[Expressions, Any], Value]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.Subscript: Expressions._item,
    ast.JoinedStr: Expressions._text,
    ast.BinOp: Expressions._operate,
    ast.BoolOp: Expressions._operate,
    ast.UnaryOp: Expressions._operate,
    ast.Compare: Expressions._compare,
    ast.ListComp: Expressions._go_through,
    ast.SetComp: Expressions._go_through,
    ast.GeneratorExp: Expressions._go_through,
    ast.DictComp: Expressions._go_through,
    ast.List: Expressions._gather,
    ast.Tuple: Expressions._gather,
    ast.Set: Expressions._gather,
    ast.Dict: Expressions._gather,
    ast.NamedExpr: Expressions._bind_here,
    ast.Lambda: lambda *_: Value.NOTHING,
    ast.Call: Expressions._call,
}
