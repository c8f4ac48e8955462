"""TokenContext: the tokens and pictures of one episode, and the check that they belong together.

Token in, token out: what the policy sampled is appended as it came and never tokenised again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image

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

    def append_environment(self, tokens: RenderedTokens) -> None:
        """Append what the environment wrote; none of it is trained."""
        self.completion_ids.extend(tokens.ids)
        self.loss_mask.extend([False] * len(tokens.ids))
        self.logprobs.extend([0.0] * len(tokens.ids))
        self.placed.extend(tokens.images)


def pixel_digest(image: Image.Image) -> str:
    """Return a digest of size and pixels, so that a swapped or changed picture is noticed."""
    head = f"{image.mode} {image.width}x{image.height} ".encode()
    return hashlib.sha256(head + image.tobytes()).hexdigest()


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


def _fault(context: TokenContext, index: int | None, what: str) -> ExactnessError:
    where = f"episode {context.episode_id}"
    if index is not None:
        known = index < len(context.placed)
        turn = context.placed[index].turn if known else len(context.turn_spans)
        where += f", turn {turn}, image {index + 1}"
    return ExactnessError(
        where,
        what,
        "render the episode again from its trajectory; ids and pictures must not be "
        "edited after they were rendered",
    )
