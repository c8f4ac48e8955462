"""VLLMPolicy: a vLLM server completes turns, token ids in and token ids out.

The contexts are those of the in-process policy, and what comes back is checked before it counts:
ids, one log-probability each, no banned id. What cannot be used is an outage, never an answer.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentic_vlm.backends.base import Completion, FinishReason, Request, SamplingParams
from agentic_vlm.backends.turns import TurnTokens
from agentic_vlm.backends.vllm_pictures import ServedPictures
from agentic_vlm.backends.vllm_server import VLLMServer

_FINAL_ONLY = 2
"""RequestOutputKind.FINAL_ONLY of vLLM."""


class VLLMPolicy:
    """Completes turns at one server; many episodes at once, which the server batches."""

    def __init__(self, server: VLLMServer, processor: Any, *, policy_id: str) -> None:
        """Keep the parts.

        Args:
            server: where the model is.
            processor: of the model; its tokenizer and placeholder.
            policy_id: name in trajectories.
        """
        self.policy_id = policy_id
        self._server = server
        self._turns = TurnTokens(processor.tokenizer)
        self._pictures = ServedPictures(server, pad_id=processor.image_token_id)

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next assistant message; see `Policy`.

        Raises:
            ExactnessError: tokens or pictures are not the rendered ones, or the server makes other
                tokens of a picture.
            BackendUnavailable: the server failed, or what it answered cannot be used.
        """
        if request.prompt_ids is None:
            raise ValueError("this policy needs token ids: give the episode a renderer")
        ids = list(request.prompt_ids)
        if request.seal is not None:
            request.seal.check_ids(ids, hop="sampler")
            digests = self._pictures.digests(request.images)
            request.seal.check_pictures(digests, hop="sampler")
        await self._server.ready()
        features = await self._pictures.place(ids, request.images, episode_id=request.episode_id)
        body = {
            "request_id": f"{request.episode_id}-{request.turn}-{uuid.uuid4().hex[:8]}",
            "model": self._server.model,
            "token_ids": ids,
            "features": features,
            "sampling_params": {
                **self._turns.engine_sampling(params),
                "n": 1,
                "output_kind": _FINAL_ONLY,
            },
        }
        answer = await self._server.post("/inference/v1/generate", body)
        return self._read(answer, params)

    def expect(self, num_episodes: int) -> None:
        """Need no announcement: the server forms its own batches."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    async def load_weights(self, folder: Path) -> None:
        """Let the server sample from a checkpoint folder; see `VLLMServer.load_weights`."""
        await self._server.load_weights(folder)

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _read(self, answer: Any, params: SamplingParams) -> Completion:
        try:
            (choice,) = answer["choices"]
            ids = [int(token) for token in choice["token_ids"]]
            entries = [(one["token"], float(one["logprob"])) for one in _content(choice)]
            reason = FinishReason(choice["finish_reason"])
        except (KeyError, TypeError, ValueError) as fault:
            raise self._server.fault(f"unexpected answer: {fault!r}") from fault
        self._check(ids, entries, params)
        return self._turns.completion(ids, [logprob for _, logprob in entries], reason)

    def _check(
        self, ids: Sequence[int], entries: Sequence[tuple[str, float]], params: SamplingParams
    ) -> None:
        logprobs = [logprob for _, logprob in entries]
        if [name for name, _ in entries] != [f"token_id:{token}" for token in ids]:
            raise self._server.fault(f"{len(ids)} tokens with log-probabilities of other ones")
        what = self._turns.fault(ids, logprobs, max_tokens=params.max_tokens)
        if what is not None:
            raise self._server.fault(what)


def _content(choice: Any) -> Any:
    if choice["logprobs"] is None:
        raise ValueError("no log-probabilities")
    return choice["logprobs"]["content"]
