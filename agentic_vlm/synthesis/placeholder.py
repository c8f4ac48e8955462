"""Code that does nothing: comments only, or a picture shown again as it was."""

import ast
import re

_INPUT = re.compile(r"image_\d+")


def is_placeholder(code: str) -> bool:
    """Return whether a code block has no effect but to show an input picture again.

    The first step of the released format asks for real work in code; a block of comments, constants
    or `image_1` alone teaches to call for the sake of calling.

    >>> is_placeholder("# zoom in here") and is_placeholder("image_1") and is_placeholder("pass")
    True
    >>> is_placeholder("image_1.crop((0, 0, 56, 56))")
    False
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Broken code is another fault, with a rejection of its own.
        return False
    return all(_does_nothing(statement) for statement in tree.body)


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=value):
            return _is_input_or_constant(value) or _shows_input(value)
        case _:
            return False


def _is_input_or_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.Name):
        return _INPUT.fullmatch(value.id) is not None
    return isinstance(value, ast.Constant)


def _shows_input(value: ast.expr) -> bool:
    """Whether an expression is `display(image_1)`, `image_1.show()`, `print("hm")` or the like."""
    if not isinstance(value, ast.Call):
        return False
    match value.func:
        case ast.Name(id="display" | "print"):
            return all(_is_input_or_constant(argument) for argument in value.args)
        case ast.Attribute(value=owner, attr="show" | "copy"):
            return isinstance(owner, ast.Name) and _INPUT.fullmatch(owner.id) is not None
        case _:
            return False
