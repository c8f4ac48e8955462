"""Contact sheet: what the pocket world asks, on one page that a person can read."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from agentic_vlm.schema import Need
from agentic_vlm.world.entities import Entity
from agentic_vlm.world.samples import FAMILIES, WorldSample, make_sample

_NUM_DIFFICULTIES = 4
_PICTURE_PX = 300
_TEXT_PX = 88
_GAP_PX = 16
_HEAD_PX = 34
_FONT_PX = 15
_LINE_PX = 19
_INK = (20, 20, 20)
_ANSWER_INK = (0, 105, 60)
_NEEDS = (Need.TOOL, Need.DIRECT)


def draw_sheet(seed: int, *, split: str, entities: Sequence[Entity]) -> Image.Image:
    """Draw every family in four difficulties, with and without tools: one row per kind.

    Args:
        seed: seed of the world.
        split: `train`, or the name of a held-out suite.
        entities: those that the split may ask about.
    """
    kinds = [(family, need) for family in FAMILIES for need in _NEEDS]
    width = _NUM_DIFFICULTIES * (_PICTURE_PX + _GAP_PX) + _GAP_PX
    height = sum(_row_px(family) for family, _ in kinds) + _GAP_PX
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = _GAP_PX
    for family, need in kinds:
        draw.text((_GAP_PX, top), f"{family}, {need} questions", font=_font(20), fill=_INK)
        for index in range(_NUM_DIFFICULTIES):
            sample = make_sample(
                seed, split=split, family=family, need=need, index=index, entities=entities
            )
            left = _GAP_PX + index * (_PICTURE_PX + _GAP_PX)
            _draw_sample(sheet, draw, sample, (left, top + _HEAD_PX))
        top += _row_px(family)
    return sheet


def _row_px(family: str) -> int:
    return _HEAD_PX + _TEXT_PX + (0 if family == "text" else _PICTURE_PX)


def wrap_text(text: str, *, width_px: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break a text into lines that fit; a word that is too long gets a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _draw_sample(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, sample: WorldSample, corner: tuple[int, int]
) -> None:
    left, top = corner
    side = _PICTURE_PX
    text_top = top
    if sample.picture is not None:
        sheet.paste(sample.picture.resize((side, side), Image.Resampling.LANCZOS), corner)
        text_top += side + 4
    font = _font(_FONT_PX)
    lines = wrap_text(sample.question.text, width_px=side, font=font)
    for number, line in enumerate(lines):
        draw.text((left, text_top + number * _LINE_PX), line, font=font, fill=_INK)
    answer = f"{sample.question.answer}   (difficulty {sample.difficulty})"
    place = (left, text_top + len(lines) * _LINE_PX)
    draw.text(place, answer, font=font, fill=_ANSWER_INK)


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
