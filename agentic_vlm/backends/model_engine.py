"""ModelEngine: the engine's contract over a model of this process, without a card and vLLM.

Prompts, sampling words, weights by name and sleep are those of vLLM, and what they demand is
checked: one placeholder per picture, no other word, no request while weights change, no step while
asleep. Unlike vLLM it finishes whatever waits in one step, keeps no keys and values between
requests, and gives log-probabilities as they are before ids are banned.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from PIL import Image

from agentic_vlm.backends.engine import EnginePrompt, Sampled
from agentic_vlm.backends.generate import Row, Sampler
from agentic_vlm.backends.turns import BAN_BIAS, EngineSampling

# What asks for the distribution of the model itself; this engine knows no other.
_PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "logprobs": 0}


class ModelEngine:
    """See `Engine`; it has a copy of the model, which only `load` changes."""

    def __init__(self, model: Any, processor: Any, *, max_context_tokens: int = 4096) -> None:
        """Copy the model.

        Args:
            model: of a Qwen-VL family.
            processor: its processor; makes as many placeholders of a picture as its limits say.
            max_context_tokens: longest context with what is sampled.
        """
        self._model = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self._processor, self._max_context = processor, max_context_tokens
        self._samplers: dict[tuple[int, ...], Sampler] = {}
        self._waiting: dict[str, tuple[Row, tuple[int, ...]]] = {}
        self.is_asleep = False

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        """See `Engine`."""
        ids, images = self._expand(prompt)
        if len(ids) >= self._max_context:
            raise ValueError(f"a context of {len(ids)} tokens, {self._max_context} are the limit")
        known = set(EngineSampling.__annotations__)
        if set(sampling) != known or any(sampling[key] != _PLAIN[key] for key in _PLAIN):  # type: ignore[literal-required]
            raise ValueError(
                f"sampling {sampling} is not that of the model, or not in vLLM's words"
            )
        bias = sampling["logit_bias"]
        row = Row(
            ids=ids,
            images=images,
            temperature=sampling["temperature"],
            max_tokens=min(sampling["max_tokens"], self._max_context - len(ids)),
            seed=sampling["seed"],
            stop_ids=frozenset(sampling["stop_token_ids"]),
            stop_texts=tuple(sampling["stop"]),
        )
        banned = tuple(sorted(token for token, value in bias.items() if value <= BAN_BIAS))
        self._waiting[request_id] = row, banned

    def step(self) -> list[Sampled]:
        """See `Engine`; whatever waits and bans the same ids is sampled to its end."""
        if self.is_asleep:
            raise RuntimeError("the engine sleeps: wake it before it is asked")
        if not self._waiting:
            return []
        banned = next(iter(self._waiting.values()))[1]
        names = [name for name, one in self._waiting.items() if one[1] == banned]
        rows = [self._waiting.pop(name)[0] for name in names]
        outs = self._sampler(banned).continue_rows(rows)
        return [
            Sampled(name, row.ids, out.ids, out.logprobs, out.finish_reason)
            for name, row, out in zip(names, rows, outs, strict=True)
        ]

    def abort(self, request_ids: Sequence[str]) -> None:
        """See `Engine`."""
        for request_id in request_ids:
            self._waiting.pop(request_id, None)

    def wake(self) -> None:
        """See `Engine`."""
        self.is_asleep = False

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `Engine`."""
        self._check_idle("load weights")
        state = self._model.state_dict()
        with torch.no_grad():
            for name, value in weights:
                if name not in state:
                    raise ValueError(f"the model has no weight {name}")
                state[name].copy_(value)
        for sampler in self._samplers.values():
            sampler.encoder.clear()
        self.is_asleep = False

    def sleep(self) -> None:
        """See `Engine`; nothing is given back here."""
        self._check_idle("sleep")
        self.is_asleep = True

    def close(self) -> None:
        """See `Engine`."""
        self._waiting.clear()

    def _expand(self, prompt: EnginePrompt) -> tuple[list[int], list[Image.Image]]:
        """Put as many placeholders as the processor makes of each picture."""
        data = prompt.get("multi_modal_data")
        images = data["image"] if data else []
        names = prompt.get("multi_modal_uuids")
        if images and (names is None or len(names["image"]) != len(images)):
            raise ValueError("pictures and their names differ in number")
        pad = self._processor.image_token_id
        ids: list[int] = []
        number = 0
        for token in prompt["prompt_token_ids"]:
            if token != pad:
                ids.append(token)
                continue
            if number == len(images):
                raise ValueError(f"more placeholders than the {len(images)} pictures")
            ids += [pad] * self._num_tokens(images[number])
            number += 1
        if number != len(images):
            raise ValueError(f"{number} placeholders for {len(images)} pictures")
        return ids, images

    def _num_tokens(self, image: Image.Image) -> int:
        image_processor = self._processor.image_processor
        (grid,) = image_processor(images=[image], return_tensors="pt")["image_grid_thw"]
        return int(grid.prod()) // int(image_processor.merge_size) ** 2

    def _check_idle(self, what: str) -> None:
        if self._waiting:
            raise RuntimeError(f"cannot {what}: {len(self._waiting)} requests are being sampled")

    def _sampler(self, banned: tuple[int, ...]) -> Sampler:
        if banned not in self._samplers:
            self._samplers[banned] = Sampler(self._model, self._processor, banned_ids=list(banned))
        return self._samplers[banned]
