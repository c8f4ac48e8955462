"""Rows with planted duplicates and contaminations, from a seed and the edits in a file."""

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw

from agentic_vlm.schema import CuratedSample, ImageRef, RawSample, content_id

EDITS = json.loads(Path(__file__).with_name("planted_edits.json").read_text(encoding="utf-8"))
_SYLLABLES = (
    *("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so"),
    *("tu", "va", "we", "xi", "yo", "zu", "bri", "cla", "dro", "fle", "gri"),
)
_MIN_WORDS, _MAX_WORDS = 16, 32


@dataclass
class Plantation:
    """Rows in the order in which they are curated, and what should become of them."""

    rows: list[CuratedSample] = field(default_factory=list)
    suite: Sequence[RawSample] = field(default_factory=list)
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    """By digest name."""
    duplicates: set[str] = field(default_factory=set)
    """Row ids of planted duplicates."""
    contaminated: set[str] = field(default_factory=set)


def plant(
    num_rows: int, *, num_pictures: int, picture_share: float = 0.15, scale: float = 1.0
) -> Plantation:
    """Return `num_rows` rows, planted ones included; `scale` plants fewer of each kind."""
    rng = random.Random(EDITS["seed"])
    words = ("".join(rng.choices(_SYLLABLES, k=rng.choice((2, 3)))) for _ in range(900))
    vocabulary = sorted(set(words))
    bed = _Bed(rng, vocabulary, Plantation())
    kinds = {
        part: {kind: max(1, round(count * scale)) for kind, count in EDITS[part].items()}
        for part in ("duplicates", "contaminations")
    }
    num_planted = sum(sum(counts.values()) for counts in kinds.values())
    num_clean = num_rows - num_planted
    names = [bed.draw() for _ in range(num_pictures)]
    num_seen = round(num_clean * picture_share)
    clean = [bed.ask(names[at % len(names)] if at < num_seen else None) for at in range(num_clean)]
    held_out = [bed.ask(bed.draw() if at < 150 else None, split="suite") for at in range(300)]
    bed.out.suite = held_out
    for kind, count in kinds["duplicates"].items():
        is_seen = kind in EDITS["picture_edits"]
        origins = clean[:num_seen] if is_seen else clean[num_seen:]
        for origin in rng.sample(origins, count):
            bed.out.duplicates.add(bed.copy(origin, kind).source_row_id)
    for kind, count in kinds["contaminations"].items():
        is_seen = kind in EDITS["picture_edits"]
        for origin in rng.sample(held_out[:150] if is_seen else held_out[150:], count):
            bed.out.contaminated.add(bed.taint(origin, kind).source_row_id)
    planted, bed.out.rows = bed.out.rows, clean
    for row in planted:
        # After its origin, which is what must stay.
        first = next((at for at, one in enumerate(clean) if one is bed.origins.get(id(row))), 0)
        clean.insert(rng.randrange(first + 1, len(clean) + 1), row)
    return bed.out


class _Bed:
    def __init__(self, rng: random.Random, vocabulary: list[str], out: Plantation) -> None:
        self.rng, self.vocabulary, self.out = rng, vocabulary, out
        self.origins: dict[int, CuratedSample] = {}
        self._num = 0

    def draw(self) -> str:
        rng = self.rng
        size = (rng.randrange(200, 420), rng.randrange(200, 420))
        noise = Image.frombytes("L", (8, 8), rng.randbytes(64))
        picture = noise.resize(size, Image.Resampling.BICUBIC)
        tint = tuple(rng.randrange(60, 256) for _ in range(3))
        picture = Image.composite(Image.new("RGB", size, tint), Image.new("RGB", size), picture)
        pen = ImageDraw.Draw(picture)
        for _ in range(rng.randrange(6, 14)):
            x, y = rng.randrange(size[0]), rng.randrange(size[1])
            w, h = rng.randrange(15, 130), rng.randrange(15, 130)
            colour = tuple(rng.randrange(256) for _ in range(3))
            shape = rng.choice((pen.ellipse, pen.rectangle))
            shape((x, y, x + w, y + h), fill=colour)
        return self.keep(picture)

    def keep(self, picture: Image.Image) -> str:
        name = content_id("picture", str(len(self.out.pictures))) * 4
        self.out.pictures[name] = picture
        return name

    def ask(self, picture: str | None, *, split: str = "train") -> CuratedSample:
        words = self.rng.choices(self.vocabulary, k=self.rng.randint(_MIN_WORDS, _MAX_WORDS))
        for at in self.rng.sample(range(1, len(words)), 3):
            words[at] = str(self.rng.randrange(2, 5000))
        names = [self.rng.choice(self.vocabulary).capitalize() for _ in range(2)]
        question = " ".join(["How many", *names, *words]) + "?"
        return self._row(question, str(self.rng.randrange(10_000)), picture, split=split)

    def copy(self, origin: CuratedSample, kind: str) -> CuratedSample:
        question = origin.question
        if kind == "words":
            question = self._change_words(question)
        elif kind == "case_and_blanks":
            question = question.replace(" ", "  ", 3).replace("How many", "how many")
        picture = self._edited(origin, kind)
        row = self._row(question, origin.answer, picture)
        if kind == "exact":
            row = row.model_copy(update={"sample_id": origin.sample_id, "images": origin.images})
        self.origins[id(row)] = origin
        self.out.rows.append(row)
        return row

    def taint(self, origin: CuratedSample, kind: str) -> CuratedSample:
        question = origin.question
        if kind == "words":
            question = self._change_words(question)
        elif kind == "embedded":
            question = f"Read with care. {question} Answer in one word."
        else:
            question = self.ask(None).question
        row = self._row(question, origin.answer, self._edited(origin, kind))
        self.out.rows.append(row)
        return row

    def _edited(self, origin: CuratedSample, kind: str) -> str | None:
        if not origin.images:
            return None
        if kind not in EDITS["picture_edits"]:
            return origin.images[0].sha256
        original = self.out.pictures[origin.images[0].sha256]
        edit: Callable[[Image.Image], Image.Image] = getattr(self, f"_{kind}")
        return self.keep(edit(original))

    def _jpeg(self, picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=EDITS["picture_edits"]["jpeg"]["quality"])
        return Image.open(file).convert("RGB")

    def _half(self, picture: Image.Image) -> Image.Image:
        scale = EDITS["picture_edits"]["half"]["scale"]
        return picture.resize((round(picture.width * scale), round(picture.height * scale)))

    def _crop(self, picture: Image.Image) -> Image.Image:
        share = EDITS["picture_edits"]["crop"]["share"]
        width, height = round(picture.width * (1 - share)), round(picture.height * (1 - share))
        left = self.rng.randint(0, picture.width - width)
        top = self.rng.randint(0, picture.height - height)
        return picture.crop((left, top, left + width, top + height))

    def _change_words(self, question: str) -> str:
        words = question.split(" ")
        plain = [at for at, word in enumerate(words) if word.isalpha() and word.islower()]
        count = max(1, int(EDITS["changed_words_share"] * len(words)))
        for at in self.rng.sample(plain, min(count, len(plain))):
            words[at] = self.rng.choice(self.vocabulary)
        return " ".join(words)

    def _row(
        self, question: str, answer: str, picture: str | None, *, split: str = "train"
    ) -> CuratedSample:
        self._num += 1
        images: tuple[ImageRef, ...] = ()
        if picture is not None:
            seen = self.out.pictures[picture]
            images = (ImageRef(sha256=picture, width_px=seen.width, height_px=seen.height),)
        return CuratedSample(
            sample_id=content_id(question, answer, picture or ""),
            source="planted",
            source_row_id=str(self._num),
            split=split,
            family="perception" if picture else "text",
            question=question,
            answer=answer,
            answer_type="integer",
            images=images,
        )
