"""Engine: samples for many requests at once, in the process that trains.

The words are those of vLLM's Python interface: a prompt has one placeholder per picture and the
pictures beside it, and the engine puts as many placeholders there as it makes of each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from PIL import Image

from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.turns import EngineSampling


class EnginePictures(TypedDict):
    """Pictures by what they are."""

    image: list[Image.Image]


class PictureNames(TypedDict):
    """Names under which the engine may keep what it makes of a picture."""

    image: list[str]


class EnginePrompt(TypedDict, total=False):
    """A context."""

    prompt_token_ids: list[int]
    """One placeholder per picture."""
    multi_modal_data: EnginePictures
    """Absent without pictures."""
    multi_modal_uuids: PictureNames
    """Digests of the pictures."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request that is finished."""

    request_id: str
    prompt_ids: Sequence[int]
    """The context as the engine read it, placeholders expanded by the engine."""
    ids: Sequence[int]
    """What it sampled, the end of the turn included."""
    logprobs: Sequence[float]
    """One per sampled id."""
    finish_reason: FinishReason


class Engine(Protocol):
    """What a colocated policy needs; called from one thread at a time."""

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        """Take a request in; it is sampled by later steps.

        Raises:
            ValueError: the request cannot be served, such as a context that is too long.
        """
        ...

    def step(self) -> list[Sampled]:
        """Go on with what was taken in, and return what is finished."""
        ...

    def abort(self, request_ids: Sequence[str]) -> None:
        """Forget requests that nobody waits for."""
        ...

    def wake(self) -> None:
        """Take memory again for weights and for keys and values; nothing where it is awake."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Sample with these weights from now on, and forget what was computed with others.

        Only while no request is being sampled; asleep or awake, and awake afterwards.

        Args:
            weights: by the names that a checkpoint of the model has. Taken one after the other:
                where they are shards, each is gathered when it is asked for.
        """
        ...

    def sleep(self) -> None:
        """Give the memory of the device to the trainer.

        Weights go to the host, keys and values are forgotten. Only while no request is being
        sampled.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...
