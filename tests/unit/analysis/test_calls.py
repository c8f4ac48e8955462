"""What calls are for."""

import json
from pathlib import Path

import pytest

from agentic_vlm.analysis.calls import classify_call, classify_code
from agentic_vlm.schema import Observation, ToolCall

CODES = {
    "crop": [
        "image_1.crop((0, 0, 10, 10))",
        "box = (0, 0, 9, 9)\npart = image_1.crop(box).resize((90, 90))\npart",
        "import numpy as np\nnp.array(image_1)[10:20, 30:40]",
    ],
    "mark": [
        "from PIL import ImageDraw\nImageDraw.Draw(image_1).rectangle((0, 0, 5, 5))",
        "import cv2\ncv2.rectangle(image_1, (0, 0), (5, 5), 3)",
    ],
    "other_image": [
        "image_1.rotate(90)",
        "image_1.resize((100, 100))",
        "print(image_1.size)",
        "from PIL import ImageOps\nImageOps.invert(image_1)",
    ],
    "numerical": [
        "print(3 * 4)",
        "import math\nmath.sqrt(2)",
        "sum(v for v in (1, 2))",
        "print(total)",
        "def f(n):\n    return n + 1\nf(3)",
    ],
    "redisplay": [
        "image_1",
        "img = image_1\nimg",
        "image_1.show()",
        "import matplotlib.pyplot as plt\nplt.imshow(image_1)\nplt.show()",
        "from PIL import Image\nImage.open('a.png')",
    ],
    "placeholder": [
        "",
        "# look closer",
        "pass",
        "import math",
        "'a plan'",
        "print('done')",
        "x = 5",
    ],
    "error": ["print(", "x = = 1", "\0", "(" * 5000],
}


FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("labelled_cells.jsonl", 312),
        ("held_out_cells.jsonl", 46),
        ("fresh_cells.jsonl", 303),
        ("second_look_cells.jsonl", 306),
    ],
)
def test_labelled_cells_are_classified_as_a_reader_does(name, size):
    """Labelled by their meaning before a classifier saw them; docs/findings.md has first looks."""
    rows = [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]
    wrong = []
    for row in rows:
        call = ToolCall(
            tool=row["tool"],
            code=row.get("code", ""),
            arguments_json=row.get("arguments_json", ""),
        )
        seen = Observation(text="", status=row["status"]) if row["status"] else None
        found = classify_call(call, seen).value
        if found != row["label"]:
            wrong.append((row["label"], found, row.get("code", "")))
    assert len(rows) == size
    assert len(wrong) <= 0.05 * len(rows), wrong


@pytest.mark.parametrize(
    ("kind", "code"), [(kind, code) for kind, codes in CODES.items() for code in codes]
)
def test_code_is_classified_by_its_tree(kind, code):
    assert classify_code(code).value == kind


@pytest.mark.parametrize(
    ("tool", "kind"),
    [("search", "text_search"), ("image_search", "image_search"), ("fly", "error"), ("", "error")],
)
def test_other_tools_are_classified_by_name(tool, kind):
    assert classify_call(ToolCall(tool=tool), None).value == kind


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("placeholder", "def zoom(box):\n    return image_1.crop(box)"),
        ("crop", "def zoom(box):\n    return image_1.crop(box)\nzoom((1, 2, 3, 4))"),
        ("crop", "zoom = lambda box: image_1.crop(box)\nlist(map(zoom, boxes))"),
        ("redisplay", "class A:\n    def f(self, x):\n        x.show()\nA().f(image_1)"),
        ("redisplay", "w, h = image_1.size\nimage_1.crop((0, 0, w, h)).show()"),
        ("mark", "a = np.array(image_1)\na[4:9, 2] = 255\nshow(a)"),
        ("other_image", "a = np.array(image_1)\na[a < 9] = 0\nshow(a)"),
        ("numerical", "image_width = 40\nprint(image_width * 2)"),
        ("numerical", "picture = 12\nprint(picture * 2)"),
        ("numerical", "plt.plot([1, 2])\nplt.text(1, 1, 'a')\nplt.show()"),
        ("mark", "ax = axes[0]\nax.imshow(image_1)\nax.text(1, 1, 'a')"),
        ("other_image", "axes[0].imshow(image_1)\naxes[1].plot(image_1.histogram())"),
    ],
)
def test_what_is_known_of_a_value_goes_with_it(kind, code):
    assert classify_code(code).value == kind


@pytest.mark.parametrize(
    "code",
    [
        # Each calls the next one twice: followed blindly, they would never end.
        "\n".join(f"def f{n}(x):\n    f{n + 1}(x)\n    f{n + 1}(x)" for n in range(60)) + "\nf0(1)",
        "def f(x):\n    return f(x) + 1\nf(3)",
        "1" + " + 1" * 2000,
    ],
)
def test_hostile_code_is_classified_in_the_end(code):
    assert classify_code(code).value == "numerical"


def test_a_failed_call_is_an_error_whatever_it_was_for():
    call = ToolCall(tool="python", code="image_1.crop((0, 0, 1, 1))")
    assert classify_call(call, Observation(text="no", status="timeout")).value == "error"
    assert classify_call(call, Observation(text="ok")).value == "crop"
