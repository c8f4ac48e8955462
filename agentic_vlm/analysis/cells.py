"""What a cell does to pictures and to numbers, statement by statement.

A name stands for a picture if it looks like one (`image_1`, `img`, `left_img`), or if a statement
gave it something made of one. What a statement does to such a name is done to a picture; the rest
is arithmetic.
"""

import ast
import re
from collections.abc import Iterator

_PICTURE = re.compile(r"(?:\w+_)?(?:image|img|picture|photo)(?:_?\d+)?|im(?:_?\d+)?")
_OPENING = frozenset({"imread", "open"})
_MODULES = frozenset(
    {"cv2", "skimage", "pytesseract", "imagehash"}
    | {"ImageOps", "ImageEnhance", "ImageFilter", "ImageChops"}
)
"""Modules whose functions work on pictures; `ImageDraw` is apart."""
_DRAWING_NAMES = frozenset({"Draw", "ImageDraw"})
_DRAWING_CALLS = frozenset(
    {"putText", "drawContours", "drawMarker", "drawKeypoints", "arrowedLine", "polylines"}
    | {"fillPoly"}
)
_SHAPE_CALLS = frozenset({"rectangle", "ellipse", "circle", "line", "polygon"})
"""Drawing, where a picture is at hand or `cv2` is asked."""
_PLOT_MARKS = frozenset(
    {"plot", "scatter", "annotate", "text", "add_patch", "add_artist", "arrow"}
    | {"axvline", "axhline", "hlines", "vlines", "axvspan", "axhspan", "contour"}
)
"""Drawing, where the axes show a picture."""
_SPLITTING = frozenset({"array_split", "hsplit", "vsplit"})
_PICTURE_CALLS = frozenset(
    {"resize", "rotate", "transpose", "convert", "enhance", "thumbnail", "getpixel", "putpixel"}
    | {"quantize", "histogram", "getcolors", "getdata", "fromarray", "getbbox"}
)
"""Methods that nothing but pictures has; others count where a picture is at hand."""
_MEASURES = frozenset({"size", "width", "height", "mode", "shape", "format"})
# What moves a picture to the eye, to a file or to a name, and changes nothing about it.
_SHOWING = frozenset(
    {"show", "display", "imshow", "print", "copy", "save", "savefig", "imwrite", "figure", "axis"}
    | {"title", "subplots", "subplot", "gca", "axes", "tight_layout", "set_title", "waitKey"}
    | {"destroyAllWindows", "close", "array", "asarray", "list", "enumerate", "set_axis_off"}
    | _OPENING
)
_COMPUTING = (
    ast.BinOp, ast.Compare, ast.BoolOp, ast.AugAssign, ast.UnaryOp, ast.ListComp,
    ast.GeneratorExp, ast.DictComp, ast.SetComp, ast.Lambda, ast.FunctionDef,
)  # fmt: skip
_FLOW = (ast.For, ast.While, ast.Subscript)
"""Computing, unless it only goes through pictures."""


class CellFacts:
    """What was seen so far."""

    def __init__(self) -> None:
        self.crops = False
        """A part of a picture is cut out."""
        self.draws = False
        """Something is drawn on a picture."""
        self.changes_picture = False
        """A picture is changed or measured."""
        self.computes = False
        """Something is computed that is no picture."""
        self.sees_picture = False
        """A picture is named, opened or shown."""
        self.reads_earlier_names = False
        """A name is read that an earlier cell must have set."""
        self._pictures: set[str] = set()
        self._own_names: set[str] = set()
        self._picture_functions: set[str] = set()
        self._shows_axes = False

    def look_at(self, statement: ast.stmt) -> None:
        """Note what one statement tells."""
        if isinstance(statement, ast.ImportFrom):
            if (statement.module or "").split(".")[0] in _MODULES:
                self._picture_functions |= {one.asname or one.name for one in statement.names}
            return
        nodes = list(ast.walk(statement))
        calls = set(_called(nodes))
        loads = {at.id for at in nodes if isinstance(at, ast.Name) and isinstance(at.ctx, ast.Load)}
        stores = {
            at.id for at in nodes if isinstance(at, ast.Name) and not isinstance(at.ctx, ast.Load)
        }
        attributes = {at.attr for at in nodes if isinstance(at, ast.Attribute)}
        touches = any(self._is_picture(name) for name in loads | stores) or bool(calls & _OPENING)
        self.sees_picture |= touches
        # `plt.imshow` of whatever name puts a picture under what is plotted next.
        self._shows_axes |= "imshow" in calls
        works = self._works_on_picture(nodes, calls, touches=touches)
        self._note_cut(nodes, calls, attributes, touches=touches)
        self._note_drawing(calls, loads, touches=touches)
        self.changes_picture |= works
        if touches:
            is_arithmetic = any(isinstance(at, _COMPUTING) for at in nodes)
            self.changes_picture |= is_arithmetic or bool(attributes & _MEASURES)
            self._pictures |= stores
        elif not works:
            kinds = (*_COMPUTING, *_FLOW)
            self.computes |= bool(calls - _SHOWING) or any(isinstance(at, kinds) for at in nodes)
        bare = loads - stores - self._own_names - _names_called(nodes) - _bases(nodes)
        self.reads_earlier_names |= bool(bare) and not touches
        self._own_names |= stores

    def _is_picture(self, name: str) -> bool:
        return name in self._pictures or _PICTURE.fullmatch(name) is not None

    def _works_on_picture(self, nodes: list[ast.AST], calls: set[str], *, touches: bool) -> bool:
        """Tell whether a function of a picture module or a method of pictures is called."""
        of_modules = {
            at.func.attr
            for at in nodes
            if isinstance(at, ast.Call)
            and isinstance(at.func, ast.Attribute)
            and _root(at.func) in _MODULES
        }
        own = calls & (_PICTURE_CALLS | self._picture_functions)
        # What is computed from a picture belongs to it: `np.rot90(img)`, `arr.mean()`.
        others = calls - _SHOWING if touches else set()
        return bool(of_modules - _SHOWING or own or others)

    def _note_cut(
        self, nodes: list[ast.AST], calls: set[str], attributes: set[str], *, touches: bool
    ) -> None:
        is_fitted = any(
            isinstance(at, ast.Attribute) and at.attr == "fit" and _root(at) == "ImageOps"
            for at in nodes
        )
        self.crops |= (
            "crop" in calls
            or is_fitted
            or "EXTENT" in attributes
            or (touches and bool(calls & _SPLITTING))
            or any(self._is_region(at) for at in nodes)
        )

    def _is_region(self, node: ast.AST) -> bool:
        """Tell whether a node is `array[top:bottom, left:right]` of what may be a picture."""
        match node:
            case ast.Subscript(value=base, slice=ast.Tuple(elts=[ast.Slice() as a, *rest])):
                slices = [a, *(part for part in rest[:1] if isinstance(part, ast.Slice))]
            case _:
                return False
        if len(slices) < 2 or not any(part.lower or part.upper for part in slices):
            # `array[:, :, 0]` takes a channel, `array[::2, ::2]` every other pixel.
            return False
        if isinstance(base, ast.Attribute) and base.attr in ("loc", "iloc"):
            return False
        name = _root(base)
        return self._is_picture(name) or name not in self._own_names

    def _note_drawing(self, calls: set[str], loads: set[str], *, touches: bool) -> None:
        shapes = calls & _SHAPE_CALLS
        self.draws |= bool(
            calls & _DRAWING_CALLS
            or (loads | calls) & _DRAWING_NAMES
            or (shapes and (touches or "cv2" in loads))
            or (self._shows_axes and calls & _PLOT_MARKS)
        )


def _called(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the last names of what is called."""
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name


def _names_called(nodes: list[ast.AST]) -> set[str]:
    return {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _bases(nodes: list[ast.AST]) -> set[str]:
    """Return names of which only a method is called, such as modules."""
    return {
        node.func.value.id
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
    }


def _root(node: ast.expr) -> str:
    """Return the name that a chain of attributes, items and calls begins with."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case _:
                return ""
    return node.id
