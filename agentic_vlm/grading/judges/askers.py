"""Who answers a judge's question: any OpenAI-compatible server, or a model in this process."""

from pathlib import Path
from typing import NamedTuple, Protocol

import openai
from openai.types.chat import ChatCompletionMessageParam

from agentic_vlm.backends.base import ChatMessage, FinishReason, Policy, Request, SamplingParams
from agentic_vlm.errors import BackendUnavailable, JudgeUnavailable
from agentic_vlm.schema import Role, content_id

# Where a server counts no tokens; English text has more characters per token.
_CHARS_PER_TOKEN = 3


class Reply(NamedTuple):
    """What a model answered."""

    text: str
    is_cut: bool
    """Whether the token limit ended it."""
    num_prompt_tokens: int
    num_reply_tokens: int


class Asker(Protocol):
    """Answers one question at a time, at temperature 0."""

    name: str
    """Names the model in the cache."""

    async def ask(self, system: str, message: str, *, max_tokens: int) -> Reply:
        """Return the reply.

        Raises:
            JudgeUnavailable: there is none, after all tries.
        """
        ...

    async def close(self) -> None:
        """Release what the asker holds."""
        ...


class OpenAIAsker:
    """Any OpenAI-compatible server; the client tries again on its own."""

    def __init__(self, model: str, *, client: openai.AsyncOpenAI) -> None:
        """Keep the client; nothing is contacted before the first question."""
        self.name = model
        self._client = client

    async def ask(self, system: str, message: str, *, max_tokens: int) -> Reply:
        """Return the reply."""
        try:
            answer = await self._client.chat.completions.create(
                model=self.name,
                messages=_chat(system, message),
                temperature=0.0,
                max_tokens=max_tokens,
                seed=0,
            )
            choice = answer.choices[0]
            text = choice.message.content or ""
            is_cut = choice.finish_reason == "length"
            usage = answer.usage
            num_in = usage.prompt_tokens if usage else _estimate(system + message)
            num_out = usage.completion_tokens if usage else _estimate(text)
        except openai.OpenAIError as fault:
            raise self._unavailable(fault) from fault
        # What a server answers instead of a completion: a page, half of a body, no choices.
        except (AttributeError, IndexError, TypeError, ValueError) as fault:
            raise self._unavailable(f"its answer is no completion: {fault}"[:200]) from fault
        if not isinstance(text, str):
            raise self._unavailable("its answer holds no text")
        return Reply(text, is_cut, num_in, num_out)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _unavailable(self, fault: object) -> JudgeUnavailable:
        return JudgeUnavailable(
            f"judge {self.name} at {self._client.base_url}",
            str(fault)[:500],
            "check that the server is up, and its address, key and model name",
        )


class LocalAsker:
    """A model in this process, or any other policy that takes token ids."""

    def __init__(self, name: str, *, policy: Policy, processor: object) -> None:
        """Keep the parts; the processor's tokenizer must have a chat template."""
        self.name = name
        self._policy = policy
        self._tokenizer = processor.tokenizer  # type: ignore[attr-defined]  # transformers has no protocol for it

    async def ask(self, system: str, message: str, *, max_tokens: int) -> Reply:
        """Return the reply."""
        text = self._tokenizer.apply_chat_template(
            _chat(system, message), tokenize=False, add_generation_prompt=True
        )
        ids = list(self._tokenizer.encode(text, add_special_tokens=False))
        episode_id = content_id(system, message)
        request = Request(
            episode_id=episode_id,
            turn=0,
            messages=[
                *([ChatMessage(Role.SYSTEM, (system,))] if system else []),
                ChatMessage(Role.USER, (message,)),
            ],
            prompt_ids=ids,
            images=[],
            assistant_prefix="",
        )
        sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, stop=(), seed=0)
        self._policy.expect(1)
        try:
            completion = await self._policy.complete(request, sampling)
        except BackendUnavailable as fault:
            raise JudgeUnavailable(f"judge {self.name}", fault.what, fault.fix) from fault
        finally:
            self._policy.done(episode_id)
        is_cut = completion.finish_reason is FinishReason.LENGTH
        num_reply = len(completion.token_ids or ()) or completion.num_tokens
        return Reply(completion.text, is_cut, len(ids), num_reply)

    async def close(self) -> None:
        """Release the model."""
        await self._policy.close()


def load_local_asker(folder: Path, *, max_batch: int) -> LocalAsker:
    """Load a checkpoint folder as a judge.

    Raises:
        ArtifactMissing: the folder holds no checkpoint.
    """
    # torch takes seconds to import, and judges behind servers never need it.
    from agentic_vlm.backends import local

    processor = local.load_processor(folder)
    policy = local.InProcessPolicy(
        local.load_model(folder), processor, policy_id=str(folder), max_batch=max_batch
    )
    return LocalAsker(str(folder), policy=policy, processor=processor)


def _chat(system: str, message: str) -> list[ChatCompletionMessageParam]:
    before: list[ChatCompletionMessageParam] = (
        [{"role": "system", "content": system}] if system else []
    )
    return [*before, {"role": "user", "content": message}]


def _estimate(text: str) -> int:
    return len(text) // _CHARS_PER_TOKEN + 1
