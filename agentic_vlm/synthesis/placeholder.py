"""Code that does nothing: comments only, or a picture shown again as it was."""

import ast
import re
from collections.abc import Set

_INPUT = re.compile(r"image_\d+")
_STILL = ("show", "axis", "figure", "title", "close", "tight_layout")


def is_placeholder(code: str) -> bool:
    r"""Return whether a code block has no effect but to show an input picture again.

    The first step of the released format asks for real work in code; a block of comments, constants
    or `image_1` alone teaches to call for the sake of calling.

    >>> is_placeholder("# zoom in here") and is_placeholder("image_1") and is_placeholder("pass")
    True
    >>> is_placeholder("import matplotlib.pyplot as plt\nplt.imshow(image_1)\nplt.show()")
    True
    >>> is_placeholder("image_1.crop((0, 0, 56, 56))")
    False
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Broken code is another fault, with a rejection of its own.
        return False
    return all(_does_nothing(statement, _aliases(tree)) for statement in tree.body)


def _aliases(tree: ast.Module) -> frozenset[str]:
    """Return names that stand for an input picture: `img = image_1` or a copy of it."""
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and _is_input(statement.value, names):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return frozenset(names)


def _does_nothing(statement: ast.stmt, names: frozenset[str]) -> bool:
    match statement:
        case ast.Pass() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(value=value):
            return _is_input(value, names) or isinstance(value, ast.Constant)
        case ast.Expr(value=value):
            is_still = isinstance(value, ast.Constant) or _is_input(value, names)
            return is_still or _shows_input(value, names)
        case _:
            return False


def _is_input(value: ast.expr, names: Set[str]) -> bool:
    """Whether an expression is an input picture as it is, or a copy of it."""
    match value:
        case ast.Name(id=name):
            return _INPUT.fullmatch(name) is not None or name in names
        case ast.Call(func=ast.Attribute(value=owner, attr="copy"), args=[]):
            return _is_input(owner, names)
        case _:
            return False


def _shows_input(value: ast.expr, names: frozenset[str]) -> bool:
    """Whether an expression is `display(image_1)`, `plt.imshow(image_1)`, `print("hm")`."""
    if not isinstance(value, ast.Call):
        return False
    given = value.args
    match value.func:
        case ast.Name(id="display" | "print" | "show"):
            return all(isinstance(one, ast.Constant) or _is_input(one, names) for one in given)
        case ast.Attribute(value=ast.Name(id="plt"), attr=attribute):
            shows = all(_is_input(one, names) for one in given)
            return attribute in _STILL or (attribute == "imshow" and shows)
        case ast.Attribute(value=owner, attr="show" | "copy"):
            return _is_input(owner, names)
        case _:
            return False
