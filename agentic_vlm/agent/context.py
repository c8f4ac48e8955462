"""TokenContext: the tokens and pictures of one episode, and the check that they belong together.

Token in, token out: what the policy sampled is appended as it came and never tokenised again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image

from agentic_vlm.backends.seal import Seal, SealedPicture, entry_digest, pixel_digest
from agentic_vlm.errors import ExactnessError


class PlaceholderIds(NamedTuple):
    """Token ids that frame and stand for a picture."""

    start: int
    """`<|vision_start|>`."""
    pad: int
    """`<|image_pad|>`, once per vision token."""
    end: int
    """`<|vision_end|>`."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """A picture and where its placeholders belong."""

    image: Image.Image
    """At original size; the policy's processor shrinks it."""
    digest: str
    """`pixel_digest` when it was placed."""
    grid_thw: tuple[int, int, int]
    """(t, h, w) in patches, unmerged."""
    num_tokens: int
    """Placeholders: merged patches."""
    turn: int
    """Number of policy turns before it; 0 for the pictures of the prompt."""


@dataclass(frozen=True, slots=True)
class RenderedTokens:
    """Tokens that the environment writes, with their pictures."""

    ids: tuple[int, ...]
    images: tuple[PlacedImage, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one author wrote at one time: the prompt, a turn or an observation."""

    end: int
    """Tokens of the context after it."""
    num_placed: int
    """Pictures of the context after it."""
    digest: str
    """`entry_digest` when it was written."""


@dataclass(slots=True)
class TokenContext:
    """Everything that the policy has seen and written in one episode."""

    episode_id: str
    """Names the episode in errors."""
    placeholders: PlaceholderIds
    """How pictures are marked in the ids."""
    prompt_ids: list[int]
    """[P] ids before the first turn."""
    placed: list[PlacedImage]
    """Pictures in the order of their placeholders."""
    completion_ids: list[int] = field(default_factory=list)
    """[T] ids after the prompt, the policy's and the environment's."""
    loss_mask: list[bool] = field(default_factory=list)
    """[T] True where the policy sampled the token."""
    logprobs: list[float] = field(default_factory=list)
    """[T] under the sampling policy; 0 where the environment wrote, NaN where unknown."""
    turn_spans: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each policy turn in `completion_ids`."""
    entries: list[Entry] = field(default_factory=list)
    """The prompt and every later entry, sealed when they were written."""

    def __post_init__(self) -> None:
        """Seal the prompt of a new context."""
        if not self.entries:
            self._seal_entry()

    @property
    def ids(self) -> list[int]:
        """[P + T] the whole context."""
        return self.prompt_ids + self.completion_ids

    @property
    def images(self) -> list[Image.Image]:
        """The pictures in the order of their placeholders."""
        return [placed.image for placed in self.placed]

    @property
    def num_tokens(self) -> int:
        """Length of the whole context."""
        return len(self.prompt_ids) + len(self.completion_ids)

    def append_policy(self, ids: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """Append a turn that the policy sampled; every one of its tokens is trained."""
        start = len(self.completion_ids)
        self.completion_ids.extend(ids)
        self.loss_mask.extend([True] * len(ids))
        self.logprobs.extend([float("nan")] * len(ids) if logprobs is None else logprobs)
        self.turn_spans.append((start, len(self.completion_ids)))
        self._seal_entry()

    def append_environment(self, tokens: RenderedTokens) -> None:
        """Append what the environment wrote; none of it is trained."""
        self.completion_ids.extend(tokens.ids)
        self.loss_mask.extend([False] * len(tokens.ids))
        self.logprobs.extend([0.0] * len(tokens.ids))
        self.placed.extend(tokens.images)
        self._seal_entry()

    def seal(self) -> Seal:
        """Return what must arrive wherever this context is carried."""
        offset = len(self.prompt_ids)
        runs = _pad_runs(self.ids, self.placeholders.pad)
        return Seal(
            self.episode_id,
            tuple(self.ids),
            tuple(offset + start for start, _ in self.turn_spans),
            tuple(
                SealedPicture(placed.digest, placed.turn, start, end)
                for placed, (start, end) in zip(self.placed, runs, strict=False)
            ),
        )

    def written(self, number: int) -> str:
        """Return the digest of an entry as it is now."""
        before = self.entries[number - 1] if number else Entry(0, 0, "")
        entry = self.entries[number]
        return self._digest((before.end, entry.end), (before.num_placed, entry.num_placed))

    def _seal_entry(self) -> None:
        last = self.entries[-1] if self.entries else Entry(0, 0, "")
        ends = self.num_tokens, len(self.placed)
        digest = self._digest((last.end, ends[0]), (last.num_placed, ends[1]))
        self.entries.append(Entry(*ends, digest))

    def _digest(self, tokens: tuple[int, int], pictures: tuple[int, int]) -> str:
        offset = len(self.prompt_ids)
        start, end = tokens
        # The prompt has no mask; nobody but the environment writes there.
        mask = self.loss_mask[max(start - offset, 0) : max(end - offset, 0)]
        placed = self.placed[slice(*pictures)]
        return entry_digest(
            self.ids[start:end], mask, [(one.digest, one.grid_thw) for one in placed]
        )


def check_exact(context: TokenContext) -> None:
    """Check that ids, mask, log-probabilities and pictures of an episode belong together.

    Raises:
        ExactnessError: a placeholder run is missing, too many, of wrong length, unframed or
            trained on, or a picture is not the one that was placed.
    """
    lengths = len(context.completion_ids), len(context.loss_mask), len(context.logprobs)
    if len(set(lengths)) != 1:
        raise _fault(context, None, f"{lengths} completion ids, mask entries and logprobs")
    runs = list(_pad_runs(context.ids, context.placeholders.pad))
    for index, placed in enumerate(context.placed):
        if index < len(runs):
            _check_run(context, index, runs[index], placed)
    if len(runs) != len(context.placed):
        index = min(len(runs), len(context.placed))
        raise _fault(
            context, index, f"{len(runs)} placeholder runs but {len(context.placed)} pictures"
        )
    _check_entries(context)


def _check_entries(context: TokenContext) -> None:
    """Check that every entry is still what was sealed, and that nothing was added after it."""
    last = context.entries[-1]
    if (last.end, last.num_placed) != (context.num_tokens, len(context.placed)):
        what = f"{context.num_tokens} tokens where {last.end} were written"
        raise _fault(context, None, what)
    for number, entry in enumerate(context.entries):
        if context.written(number) == entry.digest:
            continue
        start = context.entries[number - 1].num_placed if number else 0
        has_pictures = entry.num_placed > start
        raise _fault(
            context,
            start if has_pictures else None,
            f"entry {number} of {len(context.entries)} is not the one that was written",
            turn=sum(
                begin + len(context.prompt_ids) < entry.end for begin, _ in context.turn_spans
            ),
        )


def _check_run(
    context: TokenContext, index: int, run: tuple[int, int], placed: PlacedImage
) -> None:
    ids, (start, end) = context.ids, run
    if end - start != placed.num_tokens:
        what = f"{end - start} placeholders but the grid {placed.grid_thw} has {placed.num_tokens}"
        raise _fault(context, index, what)
    before = ids[start - 1] if start else None
    after = ids[end] if end < len(ids) else None
    if (before, after) != (context.placeholders.start, context.placeholders.end):
        raise _fault(context, index, "the placeholders are not framed by vision start and end")
    if pixel_digest(placed.image) != placed.digest:
        raise _fault(context, index, "the picture is not the one that was placed")
    offset = len(context.prompt_ids)
    if any(context.loss_mask[max(start - offset, 0) : max(end - offset, 0)]):
        raise _fault(context, index, "placeholders are marked as sampled by the policy")


def _pad_runs(ids: Sequence[int], pad: int) -> Iterator[tuple[int, int]]:
    start: int | None = None
    for position, token in enumerate(ids):
        if token == pad and start is None:
            start = position
        elif token != pad and start is not None:
            yield start, position
            start = None
    if start is not None:
        yield start, len(ids)


def _fault(
    context: TokenContext, index: int | None, what: str, *, turn: int | None = None
) -> ExactnessError:
    if turn is None:
        known = index is not None and index < len(context.placed)
        turn = context.placed[index or 0].turn if known else len(context.turn_spans)
    where = f"episode {context.episode_id}, turn {turn}"
    if index is not None:
        where += f", image {index + 1}"
    return ExactnessError(
        where,
        what,
        "render the episode again from its trajectory; ids and pictures must not be "
        "edited after they were rendered",
    )
