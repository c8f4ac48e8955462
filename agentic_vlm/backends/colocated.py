"""ColocatedPolicy: an engine of this process completes turns, token ids in and token ids out.

Contexts are those of the in-process policy. One thread drives the engine: what is asked joins the
running batch at the next step, and each turn is handed back as soon as it is finished. What the
engine read is compared with what was rendered before a turn counts.
"""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agentic_vlm.backends.base import Completion, Request, SamplingParams
from agentic_vlm.backends.engine import Engine, EnginePrompt, Sampled
from agentic_vlm.backends.seal import PixelDigests
from agentic_vlm.backends.turns import TurnTokens, pad_runs
from agentic_vlm.errors import BackendUnavailable, ExactnessError


@dataclass(slots=True)
class _Asked:
    """A turn that somebody waits for."""

    name: str
    request: Request
    params: SamplingParams
    prompt: EnginePrompt
    future: asyncio.Future[Completion]
    loop: asyncio.AbstractEventLoop


class ColocatedPolicy:
    """Completes turns at an engine; many episodes at once, which the engine batches.

    It may be asked while it rests: then it wakes with the weights that it had.
    """

    def __init__(self, engine: Engine, processor: Any, *, policy_id: str) -> None:
        """Keep the parts; the thread that drives the engine starts with the first request.

        Args:
            engine: samples.
            processor: of the model; its tokenizer and placeholder.
            policy_id: name in trajectories.
        """
        self.policy_id = policy_id
        self._engine = engine
        self._turns = TurnTokens(processor.tokenizer)
        self._pad_id: int = processor.image_token_id
        self._digests = PixelDigests(max_pictures=2**14)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._lock = threading.Lock()
        self._incoming: list[_Asked] = []
        self._running: dict[str, _Asked] = {}
        self._dropped: list[str] = []
        self._is_driving = False
        self._lost = ""
        self._number = 0

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next assistant message; see `Policy`.

        Raises:
            ExactnessError: tokens or pictures are not the rendered ones, or the engine makes other
                tokens of a picture.
            BackendUnavailable: the engine refused the request or failed, or what it sampled cannot
                be used.
        """
        if request.prompt_ids is None:
            raise ValueError("this policy needs token ids: give the episode a renderer")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        self._number += 1
        name = f"{request.episode_id}-{request.turn}-{self._number}"
        asked = _Asked(name, request, params, self._prompt(request), future, loop)
        # Before it joins the others, so that a broken episode fails alone.
        self._check_prompt(asked)
        with self._lock:
            if self._lost:
                raise _outage(self._lost)
            self._incoming.append(asked)
            if not self._is_driving:
                self._is_driving = True
                self._thread.submit(self._drive).add_done_callback(self._tell_of_loss)
        try:
            return await future
        except asyncio.CancelledError:
            with self._lock:
                self._dropped.append(name)
            raise

    def expect(self, num_episodes: int) -> None:
        """Need no announcement: the engine forms its own batches."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    def load(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Sample with these weights from now on; see `Engine.load`. Waits until they are there.

        Raises:
            BackendUnavailable: the engine failed while it sampled.
        """
        if self._lost:
            raise _outage(self._lost)
        self._thread.submit(self._engine.load, weights).result()

    def rest(self) -> None:
        """Give the memory of the device to others, once nobody is waited for; see `Engine`."""
        if not self._lost:
            self._thread.submit(self._engine.sleep).result()

    async def close(self) -> None:
        """Release the engine and end its thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._engine.close)
        self._thread.shutdown()

    def _prompt(self, request: Request) -> EnginePrompt:
        """Return a context in the engine's form: one placeholder per picture."""
        ids = request.prompt_ids or []
        followed = zip([None, *ids[:-1]], ids, strict=True)
        single = [
            token for before, token in followed if token != self._pad_id or before != self._pad_id
        ]
        prompt = EnginePrompt(prompt_token_ids=single)
        if request.images:
            prompt["multi_modal_data"] = {"image": list(request.images)}
            names = [self._digests.of(image) for image in request.images]
            prompt["multi_modal_uuids"] = {"image": names}
        return prompt

    def _check_prompt(self, asked: _Asked) -> None:
        """Check that what goes to the engine is what was rendered: tokens, pictures, names."""
        seal = asked.request.seal
        if seal is None:
            return
        lengths = iter([one.end - one.start for one in seal.pictures])
        ids: list[int] = []
        for token in asked.prompt["prompt_token_ids"]:
            ids += [token] * (next(lengths, 1) if token == self._pad_id else 1)
        seal.check_ids(asked.request.prompt_ids or [], hop="sampler")
        seal.check_ids(ids, hop="engine")
        data, names = asked.prompt.get("multi_modal_data"), asked.prompt.get("multi_modal_uuids")
        images = data["image"] if data else []
        seal.check_pictures([self._digests.of(image) for image in images], hop="sampler")
        seal.check_pictures(names["image"] if names else [], hop="engine")

    def _drive(self) -> None:
        """Add what is asked and step, until nobody waits; runs in the thread of the engine."""
        self._engine.wake()
        running = self._running
        while True:
            with self._lock:
                taken, self._incoming = self._incoming, []
                dropped, self._dropped = self._dropped, []
                if not taken and not running:
                    self._is_driving = False
                    return
            # Before any is added: should one end the thread's work, all of them are told.
            running.update((asked.name, asked) for asked in taken)
            for asked in taken:
                self._add(asked)
            self._abort([name for name in dropped if running.pop(name, None) is not None])
            for sampled in self._engine.step() if running else []:
                found = running.pop(sampled.request_id, None)
                if found is not None:
                    self._finish(found, sampled)

    def _tell_of_loss(self, drive: Future[None]) -> None:
        """Tell whoever waits, and whoever asks later, what ended the thread's work, if anything.

        Such as a device without memory.
        """
        fault = drive.exception()
        if fault is None:
            return
        with self._lock:
            self._lost = f"lost: {type(fault).__name__}: {fault}"
            waiting = [*self._running.values(), *self._incoming]
            self._incoming = []
        for asked in waiting:
            _fail(asked, _outage(self._lost))

    def _add(self, asked: _Asked) -> None:
        refused: Exception
        try:
            self._check_prompt(asked)
            sampling = self._turns.engine_sampling(asked.params)
            self._engine.add(asked.name, asked.prompt, sampling)
        except ExactnessError as fault:
            refused = fault
        except ValueError as refusal:
            refused = _outage(f"request {asked.name} refused: {refusal}")
        else:
            return
        del self._running[asked.name]
        _fail(asked, refused)

    def _abort(self, names: Sequence[str]) -> None:
        if names:
            self._engine.abort(names)

    def _finish(self, asked: _Asked, sampled: Sampled) -> None:
        try:
            self._check_read(asked.request, sampled.prompt_ids)
            ids, logprobs = list(sampled.ids), list(sampled.logprobs)
            what = self._turns.fault(ids, logprobs, max_tokens=asked.params.max_tokens)
            if what is not None:
                raise _outage(f"request {asked.name}: {what}")
            completion = self._turns.completion(ids, logprobs, sampled.finish_reason)
        except (ExactnessError, BackendUnavailable) as fault:
            _fail(asked, fault)
            return
        _tell(asked, lambda: asked.future.set_result(completion))

    def _check_read(self, request: Request, found: Sequence[int]) -> None:
        """Check that the engine read the rendered context.

        Raises:
            ExactnessError: it did not; names the picture of which it makes other tokens.
        """
        ids = request.prompt_ids or []
        if list(found) == list(ids):
            return
        where = f"episode {request.episode_id}, turn {request.turn}"
        runs, rendered = pad_runs(found, self._pad_id), pad_runs(ids, self._pad_id)
        for number, ((_, there), (_, here)) in enumerate(zip(runs, rendered, strict=False)):
            if there != here:
                raise ExactnessError(
                    f"{where}, image {number + 1}",
                    f"the engine makes {there} tokens of it, the trainer {here}",
                    "give both the same preprocessor_config.json (min_pixels, max_pixels)",
                )
        raise ExactnessError(
            where,
            f"the engine read {len(found)} tokens with {len(runs)} pictures, rendered were "
            f"{len(ids)} with {len(rendered)}",
            "compare the installed vLLM with docs/decisions/0019-colocated-engine.md",
        )


def _outage(what: str) -> BackendUnavailable:
    return BackendUnavailable(
        "colocated engine",
        what,
        "see the log; a run that is started again goes on at its last checkpoint",
    )


def _fail(asked: _Asked, fault: BaseException) -> None:
    _tell(asked, lambda: asked.future.set_exception(fault))


def _tell(asked: _Asked, say: Any) -> None:
    """Let the loop of the episode have an answer, unless nobody waits there any more."""

    def answer() -> None:
        if not asked.future.done():
            say()

    if not asked.loop.is_closed():
        asked.loop.call_soon_threadsafe(answer)
