"""What every sandbox promises; the fake is held to what does not need a real Python."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, CellStatus, Sandbox, build
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.sandbox.process import ProcessSandbox

T = TypeVar("T")
PARAMS = SandboxParams(max_output_chars=200, max_value_chars=100, max_image_pixels=1_000_000)
RUNNER, SHARED = asyncio.Runner(), build(PARAMS)
ANSWERS = {
    "1 + 1": CellResult(CellStatus.OK, value="2"),
    "1 / 0": CellResult(CellStatus.ERROR, error_class="ZeroDivisionError"),
}


def play(scene: Callable[[Sandbox], Coroutine[None, None, T]], sandbox: Sandbox) -> T:
    async def whole() -> T:
        try:
            return await scene(sandbox)
        finally:
            await sandbox.close()

    return asyncio.run(whole())


@pytest.fixture(autouse=True, scope="module")
def _closed_place() -> Iterator[None]:
    yield
    RUNNER.run(SHARED.close())
    RUNNER.close()


def run_cells(*codes: str, images: list[Image.Image] | None = None) -> list[CellResult]:
    async def scene(sandbox: Sandbox) -> list[CellResult]:
        session = await sandbox.open(images or [], seed=3)
        return [await session.run_cell(code) for code in codes]

    return RUNNER.run(scene(SHARED))


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("make", [lambda: FakeSandbox(ANSWERS), lambda: ProcessSandbox(PARAMS)])
def test_a_value_and_an_error_are_results(make: Callable[[], Sandbox]) -> None:
    async def scene(sandbox: Sandbox) -> list[CellResult]:
        session = await sandbox.open([], seed=0)
        return [await session.run_cell(code) for code in ANSWERS]

    value, error = play(scene, make())
    assert (value.status, value.value) == (CellStatus.OK, "2")
    assert (error.status, error.error_class) == (CellStatus.ERROR, "ZeroDivisionError")


@pytest.mark.parametrize("make", [lambda: FakeSandbox(ANSWERS), lambda: ProcessSandbox(PARAMS)])
def test_a_closed_session_is_unavailable(make: Callable[[], Sandbox]) -> None:
    async def scene(sandbox: Sandbox) -> None:
        session = await sandbox.open([], seed=0)
        await session.close()
        await session.close()
        with pytest.raises(SandboxUnavailable):
            await session.run_cell("1 + 1")

    play(scene, make())


def test_names_live_across_cells() -> None:
    assert run_cells("def double(x): return 2 * x", "double(21)")[1].value == "42"


def test_two_sessions_share_nothing() -> None:
    async def scene(sandbox: Sandbox) -> CellResult:
        first, second = await sandbox.open([], seed=0), await sandbox.open([], seed=0)
        await first.run_cell("secret = 1; import builtins; builtins.leak = 2")
        return await second.run_cell("('secret' in globals(), hasattr(__builtins__, 'leak'))")

    assert RUNNER.run(scene(SHARED)).value == "(False, False)"


def test_an_error_names_its_class_and_the_line_of_the_model() -> None:
    (result,) = run_cells("a = 1\n\ndef f(x):\n    return x / 0\n\nf(a)")
    assert result.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<cell 1>", line 6, in <module>\n'
        "    f(a)\n"
        '  File "<cell 1>", line 4, in f\n'
        "    return x / 0\n"
        "           ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_a_syntax_error_is_a_result() -> None:
    (result,) = run_cells("x = 1\ndef f(:")
    assert (result.status, result.error_class) == (CellStatus.ERROR, "SyntaxError")
    assert 'File "<cell 1>", line 2' in result.stderr


@pytest.mark.parametrize("code", ["\0", "x = '\ud800'", "(" * 500, "raise SystemExit(3)"])
def test_odd_code_is_an_error_and_the_session_lives(code: str) -> None:
    odd, after = run_cells(code, "1 + 1")
    assert odd.status is CellStatus.ERROR or odd.value == ""
    assert after.value == "2"


def test_images_come_in_order_at_original_resolution() -> None:
    images = [noise(31, 17, 1), noise(1, 1, 2), noise(2000, 1500, 3)]
    sizes, shown = run_cells(
        "[i.size for i in (image_1, image_2, image_3)]",
        "display(image_2, image_1)\nimage_3.crop((10, 20, 510, 420))",
        images=images,
    )
    assert sizes.value == "[(31, 17), (1, 1), (2000, 1500)]"
    expected = [images[1], images[0], images[2].crop((10, 20, 510, 420))]
    assert [image.tobytes() for image in shown.images] == [one.tobytes() for one in expected]
    assert shown.value == ""


def test_a_picture_over_the_limit_is_reduced_and_says_so() -> None:
    (result,) = run_cells("from PIL import Image\nImage.new('RGB', (3000, 2000), 'red')")
    assert [image.size for image in result.images] == [(1000, 667)]
    assert result.stderr == "[a picture of 3000 x 2000 pixels is shown as 1000 x 667]\n"


def test_pictures_beyond_the_limit_are_counted() -> None:
    code = "for n in range(9): display(image_1)"
    (result,) = run_cells(code, images=[noise(4, 4, 0)])
    assert (len(result.images), result.num_dropped_images) == (4, 5)


@pytest.mark.parametrize("last", ["plt.show()", "fig", "pass", "display(fig)", "fig.show()"])
def test_a_figure_is_shown_once(last: str) -> None:
    code = f"import matplotlib.pyplot as plt\nfig = plt.figure()\nplt.plot([1, 2])\n{last}"
    (result,) = run_cells(code)
    assert result.status is CellStatus.OK
    assert len(result.images) == 1
    assert result.value == ""


def test_output_is_cut_in_the_middle_and_says_so() -> None:
    printed, value = run_cells("print('a' * 1000 + 'END')", "'b' * 1000")
    assert printed.stdout.startswith("a" * 100 + "\n[... 804 characters left out ...]\n")
    assert printed.stdout.endswith("END\n")
    assert printed.num_dropped_chars == 804
    assert "[... 902 characters left out ...]" in value.value


def test_notebook_lines_are_dropped_with_a_note_and_shell_lines_refused() -> None:
    magic, shell, verbatim = run_cells(
        "%matplotlib inline\n5", "!ls\n5", "text = '''\n%d\n!x'''\ntext"
    )
    assert magic.value == "5"
    assert magic.stderr.startswith("[line 1: notebook commands")
    assert (shell.status, shell.stderr.count("\n")) == (CellStatus.ERROR, 1)
    assert verbatim.value == repr("\n%d\n!x")


def test_what_a_notebook_hands_to_a_shell_is_refused_in_one_line() -> None:
    codes = ("%%bash\nls -l", "names = !ls\nnames", "if True:\n    !pip install x", "x = 1 !ls")
    *refused, syntax = run_cells(*codes)
    places = ("this cell is one", "line 1", "line 2")
    assert [one.stderr for one in refused] == [
        f"{place}: shell commands ('!...') are not available here; nothing of this cell was run\n"
        for place in places
    ]
    assert syntax.error_class == "SyntaxError"


def test_pictures_beyond_the_limit_of_a_session_are_counted() -> None:
    codes = ["for n in range(4): display(image_1)"] * 9
    results = run_cells(*codes, images=[noise(4, 4, 0)])
    assert [len(result.images) for result in results] == [4] * 8 + [0]
    assert results[-1].num_dropped_images == 4
    assert results[-1].stderr == ("[4 more pictures were not shown: no session may show more]\n")


def test_what_is_painted_after_showing_does_not_change_what_was_shown() -> None:
    (result,) = run_cells(
        "display(image_1)\nimage_1.paste(0, (0, 0, 4, 4))", images=[noise(4, 4, 0)]
    )
    assert result.images[0].tobytes() == noise(4, 4, 0).tobytes()


def test_output_past_python_is_kept() -> None:
    (result,) = run_cells("import os; os.write(1, b'from C\\n'); print('from Python')")
    assert result.stdout == "from Python\nfrom C\n"


def test_notebook_imports_find_our_display() -> None:
    (result,) = run_cells("from IPython.display import display\ndisplay(image_1)",
                          images=[noise(4, 4, 0)])  # fmt: skip
    assert result.status is CellStatus.OK
    assert len(result.images) == 1


def test_a_crash_keeps_what_was_printed() -> None:
    (crash,) = run_cells("print('é' * 300)\nimport os; os._exit(1)")
    assert crash.status is CellStatus.CRASHED
    assert crash.stdout == "é" * 100 + "\n[... 101 characters left out ...]\n" + "é" * 99 + "\n"
    assert crash.num_dropped_chars == 101


def test_input_is_refused() -> None:
    assert run_cells("input('name?')")[0].error_class == "RuntimeError"


def test_a_trailing_semicolon_hides_the_value() -> None:
    assert run_cells("5;")[0].value == ""


def test_equal_seeds_give_equal_numbers_and_no_addresses() -> None:
    code = "import random, numpy as np\n(random.random(), float(np.random.rand()), object())"

    async def scene(sandbox: Sandbox) -> list[str]:
        sessions = [await sandbox.open([], seed=seed) for seed in (1, 1, 2)]
        return [(await session.run_cell(code)).value for session in sessions]

    first, same, other = RUNNER.run(scene(SHARED))
    assert first == same != other
    assert "<object object>" in first
