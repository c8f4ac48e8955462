"""run_episode: sample, act, observe, until a StopReason.

Order of checks in every turn; the first that holds ends the episode:

1. no room for one more token: LENGTH
2. the backend fails: INFRASTRUCTURE
3. the turn holds an answer, even if its token limit cut it afterwards: ANSWER
4. the token limit cut the turn: LENGTH
5. no usable action, twice in a row (parity `release`: once): NO_ACTION
6. it was the last allowed turn; its call is not run and no answer is forced: TURN_LIMIT
7. a tool's infrastructure fails: INFRASTRUCTURE
8. the observation leaves no room for another turn, and is not appended: LENGTH
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.agent.context import check_exact
from agentic_vlm.agent.parse import STOP_STRINGS, parse_direct, parse_turn
from agentic_vlm.agent.prompt import Prompt, build_prompt
from agentic_vlm.agent.render import THINK_PREFILL, Renderer
from agentic_vlm.agent.state import CallTiming, Episode, EpisodeState, finish
from agentic_vlm.agent.task import EpisodeTask, turn_seed
from agentic_vlm.backends.base import (
    ChatMessage,
    Completion,
    FinishReason,
    Policy,
    Request,
    SamplingParams,
)
from agentic_vlm.errors import InfrastructureError
from agentic_vlm.params import AgentParams
from agentic_vlm.schema import (
    Action,
    FinalAnswer,
    ObservationStatus,
    ParseFailure,
    ProbeMode,
    Role,
    StopReason,
    ToolCall,
    Turn,
)
from agentic_vlm.search.meter import billed
from agentic_vlm.tools.base import ToolResult
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.tools.observe import error_text
from agentic_vlm.tools.toolbox import Toolbox


async def run_episode(
    task: EpisodeTask,
    *,
    policy: Policy,
    toolbox: Toolbox,
    renderer: Renderer | None,
    params: AgentParams,
    temperature: float,
) -> Episode:
    """Run one episode to its end and close its tools.

    Args:
        task: what is asked.
        policy: who acts.
        toolbox: the tools of this episode; unused in direct mode.
        renderer: makes token ids; absent for policies that take text.
        params: limits, prompt and parity.
        temperature: of sampling; 0 is greedy.

    Raises:
        ExactnessError: tokens and pictures disagree, which is a fault of ours.
    """
    prompt = build_prompt(
        task.question,
        num_images=len(task.images),
        mode=task.mode,
        params=params,
        thinks=task.thinks,
    )
    state = _start(task, prompt, renderer, policy)
    loop = _Loop(task, policy, toolbox, renderer, params, temperature, state)
    try:
        stop = await loop.run()
    except InfrastructureError as fault:
        stop, state.failure = StopReason.INFRASTRUCTURE, str(fault)
    finally:
        await toolbox.close()
    if state.context is not None:
        check_exact(state.context)
    return finish(
        task, state, stop, prompt=prompt, policy_id=policy.policy_id, protocol=params.protocol
    )


@dataclass(slots=True)
class _Loop:
    task: EpisodeTask
    policy: Policy
    toolbox: Toolbox
    renderer: Renderer | None
    params: AgentParams
    temperature: float
    state: EpisodeState

    async def run(self) -> StopReason:
        is_direct = self.task.mode is ProbeMode.DIRECT
        max_turns = 1 if is_direct else self.params.max_turns
        for number in range(max_turns):
            room = self._room()
            if room < 1:
                return StopReason.LENGTH
            prefill = THINK_PREFILL if number else ""
            completion = await self._complete(number, prefill, room)
            parse = parse_direct if is_direct else parse_turn
            action = parse(prefill + completion.text)
            self._record_turn(completion, prefill, action)
            stop = self._stop(action, completion, is_last=number + 1 == max_turns)
            if stop is None:
                stop = await self._observe(number, action)
            if stop is not None:
                return stop
        raise AssertionError("the last turn always ends the episode")

    def _room(self) -> int:
        # A server counts what the last observation added only with the next turn.
        context, known = self.state.context, self.state.num_context_tokens
        num_tokens = known if context is None else context.num_tokens
        return min(self.params.max_turn_tokens, self.params.max_context_tokens - num_tokens)

    async def _complete(self, number: int, prefill: str, room: int) -> Completion:
        context = self.state.context
        if context is not None:
            check_exact(context)
        request = Request(
            episode_id=self.task.episode_id(self.policy.policy_id),
            turn=number,
            messages=list(self.state.messages),
            prompt_ids=None if context is None else context.ids,
            images=list(self.state.images),
            assistant_prefix=prefill,
            seal=None if context is None else context.seal(),
        )
        is_direct = self.task.mode is ProbeMode.DIRECT
        sampling = SamplingParams(
            temperature=self.temperature,
            max_tokens=room,
            stop=() if is_direct else STOP_STRINGS,
            seed=turn_seed(self.task.seed, number),
        )
        return await self.policy.complete(request, sampling)

    def _record_turn(self, completion: Completion, prefill: str, action: Action) -> None:
        context, ids = self.state.context, completion.token_ids
        if context is not None:
            if ids is None:
                raise ValueError(f"policy {self.policy.policy_id} gives no token ids to render")
            context.append_policy(ids, completion.logprobs)
        self.state.num_context_tokens = completion.num_context_tokens
        text = prefill + completion.text
        self.state.messages.append(ChatMessage(Role.ASSISTANT, (text,)))
        num_tokens = completion.num_tokens if ids is None else len(ids)
        self.state.turns.append(
            Turn(text=completion.text, prefill=prefill, action=action, num_tokens=num_tokens)
        )

    def _stop(self, action: Action, completion: Completion, *, is_last: bool) -> StopReason | None:
        is_cut = completion.finish_reason is FinishReason.LENGTH
        # Without tags only a finished turn is an answer.
        if isinstance(action, FinalAnswer) and not (is_cut and "</answer>" not in completion.text):
            return StopReason.ANSWER
        if is_cut:
            return StopReason.LENGTH
        if isinstance(action, ParseFailure) and self._is_out_of_patience():
            return StopReason.NO_ACTION
        return StopReason.TURN_LIMIT if is_last else None

    def _is_out_of_patience(self) -> bool:
        if self.params.parity == "release" or self.task.mode is ProbeMode.DIRECT:
            return True
        last = self.state.turns[-2:]
        return len(last) == 2 and all(isinstance(turn.action, ParseFailure) for turn in last)

    async def _observe(self, number: int, action: Action) -> StopReason | None:
        result = await self._act(number, action)
        context = self.state.context
        if context is not None and self.renderer is not None:
            tokens = self.renderer.render_observation(context, result.text, result.images)
            if context.num_tokens + len(tokens.ids) >= self.params.max_context_tokens:
                return StopReason.LENGTH
            context.append_environment(tokens)
        self.state.images.extend(result.images)
        self.state.messages.append(ChatMessage(Role.USER, _parts(result.text, result.images)))
        self.state.observe(result)
        return None

    async def _act(self, number: int, action: Action) -> ToolResult:
        match action:
            case ToolCall():
                return await self._call(number, action)
            case ParseFailure():
                return ToolResult(
                    error_text(action.reason),
                    status=ObservationStatus.MALFORMED,
                    error_class="ParseFailure",
                )
            case FinalAnswer():
                raise AssertionError("an answer has no observation")

    async def _call(self, number: int, call: ToolCall) -> ToolResult:
        """Run a call; what it took and cost is kept even if it ends in an outage."""
        started = time.perf_counter()
        with billed() as bill:
            try:
                return await self.toolbox.run(call)
            finally:
                latency_s = time.perf_counter() - started
                self.state.timings.append(CallTiming(number, call.tool, latency_s, bill.usd))


def _start(
    task: EpisodeTask, prompt: Prompt, renderer: Renderer | None, policy: Policy
) -> EpisodeState:
    messages = [ChatMessage(Role.SYSTEM, (prompt.system,))] if prompt.system else []
    messages.append(ChatMessage(Role.USER, _parts(prompt.user, task.images)))
    context = None
    if renderer is not None:
        context = renderer.render_prompt(
            prompt.system,
            prompt.user,
            task.images,
            episode_id=task.episode_id(policy.policy_id),
        )
    return EpisodeState(messages, list(task.images), context)


def _parts(text: str, images: Sequence[Image.Image]) -> tuple[str | Image.Image, ...]:
    first, *rest = text.split(IMAGE_MARK)
    parts: list[str | Image.Image] = [first]
    for image, piece in zip(images, rest, strict=True):
        parts += [image, piece]
    return tuple(part for part in parts if part != "")
