"""Pictures of finished episodes: kept encoded, decoded when they are looked at.

A step of 4,096 rollouts holds four pictures each. Decoded they are many times their files, so a
finished episode keeps the bytes only, and a bounded number of decoded copies is shared.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import NamedTuple, Self

from PIL import Image

from agentic_vlm.agent.context import PlacedImage
from agentic_vlm.agent.state import Episode

Load = Callable[[], Image.Image]
"""Decodes a picture."""


class File(NamedTuple):
    """An encoded picture."""

    sha256: str
    """Of its bytes."""
    load: Load


class Place(NamedTuple):
    """Where a picture belongs; the fields of `PlacedImage` besides the picture."""

    digest: str
    grid_thw: tuple[int, int, int]
    num_tokens: int
    turn: int


class DecodedPictures:
    """Decoded pictures by the hash of their files; the least recently used leave first."""

    def __init__(self, *, max_bytes: int) -> None:
        """Hold at most `max_bytes` of pixels, and never less than the last picture."""
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, Image.Image] = OrderedDict()
        self._size = 0
        # Episodes and the update run in threads of their own.
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes of pixels that are held."""
        return self._size

    def get(self, sha256: str, load: Load) -> Image.Image:
        """Return the picture; loads it where it is not held."""
        with self._lock:
            if sha256 in self._held:
                self._held.move_to_end(sha256)
                return self._held[sha256]
            image = load()
            self._held[sha256] = image
            self._size += _num_bytes(image)
            while self._size > self._max_bytes and len(self._held) > 1:
                _, old = self._held.popitem(last=False)
                self._size -= _num_bytes(old)
            return image


class StoredImage(PlacedImage):
    """A placed picture whose pixels are decoded at every use; checks compare them as ever."""

    __slots__ = ("_decoded", "_file")

    _decoded: DecodedPictures
    _file: File

    def __init__(self, place: Place, file: File, decoded: DecodedPictures) -> None:
        """Take where it belongs, and where its pixels come from."""
        # The parent is frozen, so that nobody edits a placed picture.
        for name, value in place._asdict().items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_file", file)
        object.__setattr__(self, "_decoded", decoded)

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: nothing of it can change."""
        return self

    @property
    def image(self) -> Image.Image:
        """At original size."""
        return self._decoded.get(self._file.sha256, self._file.load)


def store_images(episode: Episode, prompt: Sequence[File], decoded: DecodedPictures) -> None:
    """Let an episode keep its pictures encoded, in place.

    Args:
        episode: a finished one. Where its records and its tokens disagree on the number of
            pictures, it is left as it is, and the checks of the trainer say what is wrong.
        prompt: the file of each picture of the prompt.
        decoded: shared by all episodes.
    """
    context = episode.context
    if context is None:
        return
    refs = [
        ref
        for turn in episode.trajectory.turns
        if turn.observation is not None
        for ref in turn.observation.images
    ]
    files = [*prompt, *(png_file(ref.sha256, episode.pictures[ref.sha256]) for ref in refs)]
    if len(files) == len(context.placed):
        pairs = zip(context.placed, files, strict=True)
        context.placed = [StoredImage(_place(placed), file, decoded) for placed, file in pairs]


def png_file(sha256: str, png: bytes) -> File:
    """Return a file that lies in memory."""
    return File(sha256, partial(_decode, png))


def _place(placed: PlacedImage) -> Place:
    return Place(placed.digest, placed.grid_thw, placed.num_tokens, placed.turn)


def _decode(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png))
    image.load()
    return image


def _num_bytes(image: Image.Image) -> int:
    # Pillow holds every picture of more than one channel in four bytes per pixel.
    num_channels = len(image.getbands())
    return image.width * image.height * (1 if num_channels == 1 else 4)
