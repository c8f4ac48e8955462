"""Seals: what tokens and pictures must still be after they were carried elsewhere.

A seal is taken where an episode writes tokens or places pictures, and checked wherever they arrive:
in the sampler, in the buffer of the trainer, after a split, after a file was read.
"""

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.errors import ExactnessError

_FIX = "tokens and pictures must not be edited after they were rendered and sampled"


def pixel_digest(image: Image.Image) -> str:
    """Return a digest of size and pixels, so that a swapped or changed picture is noticed."""
    head = f"{image.mode} {image.width}x{image.height} ".encode()
    return hashlib.sha256(head + image.tobytes()).hexdigest()


class PixelDigests:
    """Digests of picture objects, each computed once while the object lives."""

    def __init__(self, *, max_pictures: int) -> None:
        """Remember so many objects."""
        self._max_pictures = max_pictures
        self._known: dict[int, tuple[weakref.ref[Image.Image], str]] = {}

    def of(self, image: Image.Image) -> str:
        """Return `pixel_digest` of a picture."""
        known = self._known.get(id(image))
        if known is not None and known[0]() is image:
            return known[1]
        if len(self._known) > self._max_pictures:
            self._known.clear()
        digest = pixel_digest(image)
        self._known[id(image)] = (weakref.ref(image), digest)
        return digest


def entry_digest(
    ids: Sequence[int], loss_mask: Sequence[bool], pictures: Sequence[tuple[str, Sequence[int]]]
) -> str:
    """Return a digest of what one author wrote at one time.

    Args:
        ids: the tokens.
        loss_mask: who wrote them.
        pictures: digest and grid of each picture placed in them, in order.

    >>> entry_digest([1, 2], [True, True], []) == entry_digest([2, 1], [True, True], [])
    False
    """
    marks = "".join("1" if on else "0" for on in loss_mask)
    shown = ";".join(f"{digest}:{tuple(grid)}" for digest, grid in pictures)
    text = f"{','.join(map(str, ids))}|{marks}|{shown}"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SealedPicture:
    """A picture as it was placed."""

    digest: str
    turn: int
    """Number of policy turns before it."""
    start: int
    """First of its placeholders."""
    end: int
    """After its last placeholder."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The tokens and pictures of a context at one time."""

    episode_id: str
    ids: tuple[int, ...]
    turn_starts: tuple[int, ...]
    """Where each policy turn begins in `ids`."""
    pictures: tuple[SealedPicture, ...]

    def check_ids(self, ids: Sequence[int], *, hop: str) -> None:
        """Check that the tokens that arrived are the sealed ones.

        Raises:
            ExactnessError: a token was dropped, doubled, changed or moved; names its turn, and the
                picture where it is a placeholder.
        """
        if tuple(ids) == self.ids:
            return
        pairs = enumerate(zip(ids, self.ids, strict=False))
        shorter = min(len(ids), len(self.ids))
        at = next((place for place, (one, other) in pairs if one != other), shorter)
        inside = (n for n, one in enumerate(self.pictures) if one.start - 1 <= at <= one.end)
        number = next(inside, None)
        raise ExactnessError(
            self._where(self._turn_at(at), number),
            f"{hop}: {len(ids)} tokens for {len(self.ids)}, and token {at} differs",
            _FIX,
        )

    def check_pictures(self, digests: Sequence[str], *, hop: str) -> None:
        """Check that the pictures that arrived are the sealed ones, in order.

        Raises:
            ExactnessError: a picture was dropped, doubled, changed or moved.
        """
        expected = [one.digest for one in self.pictures]
        if list(digests) == expected:
            return
        pairs = enumerate(zip(digests, expected, strict=False))
        shorter = min(len(digests), len(expected))
        at = next((place for place, (one, other) in pairs if one != other), shorter)
        known = at < len(self.pictures)
        turn = self.pictures[at].turn if known else len(self.turn_starts)
        raise ExactnessError(
            self._where(turn, at),
            f"{hop}: {len(digests)} pictures for {len(expected)}, and this one is not the one that "
            "was placed",
            _FIX,
        )

    def _turn_at(self, at: int) -> int:
        """Return the turn of a token: that of the policy, or the one that it answers."""
        begun = [number for number, start in enumerate(self.turn_starts) if start <= at]
        return begun[-1] if begun else 0

    def _where(self, turn: int, number: int | None) -> str:
        image = "" if number is None else f", image {number + 1}"
        return f"episode {self.episode_id}, turn {turn}{image}"
