"""What one cell means: the part of a notebook that models were trained on.

Code runs verbatim. The last expression is the value; pictures are shown, not printed; a traceback
has the model's own lines only.
"""

import ast
import builtins
import linecache
import re
import sys
import traceback
from dataclasses import dataclass
from types import CodeType

from agentic_vlm.sandbox.arena import Arena
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.output import Capture, cut_middle, without_addresses
from agentic_vlm.sandbox.pictures import Gallery
from agentic_vlm.sandbox.timer import CellTimeout, CpuTimer

# `!ls`, `names = !ls`, and a cell that a notebook would hand to a shell as a whole.
_SHELL_LINE = re.compile(r"\s*(?:[\w., ]+=\s*)?!")
_SHELL_CELL = re.compile(r"\s*%%(?:!|(?:bash|sh|script|system|sx)\b)")
_NOT_CODE = (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError)


class ShellRefusedError(Exception):
    """A cell asked for a shell."""


@dataclass(frozen=True, slots=True)
class _Parts:
    body: CodeType
    last: CodeType | None
    notes: list[str]


class Notebook:
    """One namespace and the cells that ran in it."""

    def __init__(self, limits: Limits, namespace: dict[str, object], arena: Arena) -> None:
        self.gallery = Gallery(
            max_images=limits.max_images_per_cell, max_pixels=limits.max_image_pixels
        )
        self._limits = limits
        self._namespace = namespace
        self._stdout = Capture(max_chars=limits.max_output_chars, mirror=arena.stdout)
        self._stderr = Capture(max_chars=limits.max_output_chars, mirror=arena.stderr)
        self._timer = CpuTimer(limits)
        self._num_cells = 0
        self.gallery.install(namespace)
        builtins.input = _refuse_input

    def run(self, code: str) -> dict[str, object]:
        """Run a cell and return the header of the answer; its pictures are in `gallery`."""
        self.gallery.clear()
        self._num_cells += 1
        filename = f"<cell {self._num_cells}>"
        sys.stdout, sys.stderr = self._stdout, self._stderr
        status, error_class, value = "ok", "", ""
        self._timer.begin_cell()
        try:
            try:
                value = self._execute(code, filename)
            finally:
                self._timer.end_cell()
        except CellTimeout as error:
            status, error_class = "timeout", "TimeoutError"
            self._report(error)
        # Whatever model code raises, SystemExit and KeyboardInterrupt included, is its result.
        except BaseException as error:
            status, error_class = "error", type(error).__name__
            self._report(error)
        self._timer.make_sure_it_is_off()
        sys.modules["matplotlib.pyplot"].close("all")
        return self._answer(status, error_class, value)

    def _execute(self, code: str, filename: str) -> str:
        # Carets are placed rightly only under lines that end in a newline.
        lines = [f"{line}\n" for line in code.split("\n")]
        linecache.cache[filename] = (len(code), None, lines, filename)
        parts = _split(code, filename)
        for note in parts.notes:
            print(note, file=self._stderr)
        exec(parts.body, self._namespace)
        value = ""
        if parts.last is not None:
            value = self._show_last(eval(parts.last, self._namespace))
        self.gallery.show_open_figures()
        return value

    def _show_last(self, last: object) -> str:
        if last is None:
            return ""
        self._namespace["_"] = last
        return "" if self.gallery.take_picture(last) else without_addresses(repr(last))

    def _report(self, error: BaseException) -> None:
        try:
            text = _user_traceback(error)
        # The model's own exception class may fail while it is being printed.
        except BaseException:
            text = f"{type(error).__name__}\n"
        self._stderr.write(text)

    def _answer(self, status: str, error_class: str, value: str) -> dict[str, object]:
        num_over = self.gallery.num_dropped
        for note in self.gallery.notes[:8]:
            self._stderr.write(f"{note}\n")
        if num_over:
            self._stderr.write(f"[{num_over} more pictures were not shown]\n")
        stdout, num_stdout = self._stdout.take()
        stderr, num_stderr = self._stderr.take()
        value, num_value = cut_middle(value, max_chars=self._limits.max_value_chars)
        return {
            "status": status,
            "error_class": error_class[:200],
            "stdout": stdout,
            "stderr": stderr,
            "value": value,
            "num_dropped_chars": num_stdout + num_stderr + num_value,
            "num_dropped_images": num_over,
            "cpu_s": self._timer.cell_cpu_s,
        }


def rehearse_cell() -> None:
    """Compile and run a cell of ours that leaves nothing behind."""
    parts = _split("x = [1]\nx[0] + 1", "<cell 0>")
    namespace: dict[str, object] = {}
    exec(parts.body, namespace)
    if parts.last is not None:
        without_addresses(repr(eval(parts.last, namespace)))
    sys.modules["matplotlib.pyplot"].close("all")


def _refuse_input(*_arguments: object) -> str:
    raise RuntimeError("input() is not available here: nobody can answer")


def _split(code: str, filename: str) -> _Parts:
    """Compile a cell; where it is no Python only for its notebook lines, without them."""
    try:
        return _compile(code, filename, [])
    except _NOT_CODE as error:
        lines = code.split("\n")
        if _SHELL_CELL.match(code):
            raise _no_shell("this cell is one") from None
        shell = [n for n, text in enumerate(lines) if _SHELL_LINE.match(text)]
        special = [n for n, text in enumerate(lines) if n in shell or text.lstrip()[:1] == "%"]
        if not special:
            raise
        for number in special:
            lines[number] = _blank(lines[number])
        try:
            parts = _compile("\n".join(lines), filename, [_note(n) for n in special])
        except _NOT_CODE:
            raise error from None
        if shell:
            raise _no_shell(f"line {shell[0] + 1}") from None
        return parts


def _no_shell(where: str) -> ShellRefusedError:
    return ShellRefusedError(
        f"{where}: shell commands ('!...') are not available here; nothing of this cell was run"
    )


def _blank(line: str) -> str:
    # `pass` keeps a block that consists of such a line only.
    return f"{line[: len(line) - len(line.lstrip())]}pass"


def _note(number: int) -> str:
    return f"[line {number + 1}: notebook commands ('%...') are not available here; left out]"


def _compile(code: str, filename: str, notes: list[str]) -> _Parts:
    tree = ast.parse(code, filename)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not _ends_silently(code):
        expression = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]  # checked above
        last = compile(expression, filename, "eval", dont_inherit=True)
    return _Parts(compile(tree, filename, "exec", dont_inherit=True), last, notes)


def _ends_silently(code: str) -> bool:
    return code.rstrip().endswith(";")


def _user_traceback(error: BaseException) -> str:
    if isinstance(error, ShellRefusedError):
        return f"{error}\n"
    described = traceback.TracebackException.from_exception(error)
    seen = [described]
    while seen:
        one = seen.pop()
        frames = [frame for frame in one.stack if frame.filename.startswith("<cell ")]
        one.stack = traceback.StackSummary.from_list(frames)
        seen += [chained for chained in (one.__cause__, one.__context__) if chained is not None]
    text = without_addresses("".join(described.format()))
    empty = "Traceback (most recent call last):\n"
    return text if described.stack else text.removeprefix(empty)
