"""Any OpenAI-compatible server: vLLM, `transformers serve`, or a hosted model."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from PIL import Image

from agentic_vlm.backends.base import (
    ChatMessage,
    Completion,
    FinishReason,
    Request,
    SamplingParams,
    cut_at_stop,
)
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.schema import Role
from agentic_vlm.vision import encode_png

_CONTEXT_CODES = ("context_length_exceeded", "maximum context length", "longer than the maximum")
# What servers answer that cannot stop at strings; overloads and gateways are something else.
_NO_STOP_STATUS = (400, 422, 500, 501)


class OpenAIPolicy:
    """Completes turns over HTTP; pictures travel as data URIs."""

    def __init__(
        self,
        model: str,
        *,
        client: openai.AsyncOpenAI,
        policy_id: str | None = None,
        continues_messages: bool = False,
        counts_context: bool = False,
    ) -> None:
        """Keep the client, which retries on its own.

        Args:
            model: name at the server.
            client: with address, key, deadline and number of retries.
            policy_id: name in trajectories; the name at the server where absent.
            continues_messages: whether the server can go on writing a given assistant message, as
                vLLM does; without it, a model is trusted to write the pre-fill itself.
            counts_context: whether the server's count of tokens is the context that the limits of
                the agent mean; not so for teachers, which have other tokenizers.
        """
        self.policy_id = model if policy_id is None else policy_id
        self._model = model
        self._client = client
        self._continues_messages = continues_messages
        self._counts_context = counts_context
        self._sends_stop = True

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next assistant message.

        Raises:
            BackendUnavailable: the server failed, refused or was not reached.
        """
        sends_stop = self._sends_stop and bool(params.stop)
        try:
            answer = await self._ask(request, params, sends_stop=sends_stop)
        except openai.BadRequestError as fault:
            if any(code in str(fault) for code in _CONTEXT_CODES):
                return Completion("", FinishReason.LENGTH, None, None)
            raise self._unavailable(fault) from fault
        except openai.OpenAIError as fault:
            raise self._unavailable(fault) from fault
        if not answer.choices:
            raise self._unavailable("the answer holds no choice")
        choice = answer.choices[0]
        text = _written(choice.message).removeprefix(request.assistant_prefix)
        is_cut = choice.finish_reason == "length"
        if not is_cut and sends_stop and self._sends_stop:
            text += _lost_stop(text, params.stop, told=choice.model_extra or {})
        text, is_stopped = cut_at_stop(text, params.stop)
        reason = FinishReason.LENGTH if is_cut and not is_stopped else FinishReason.STOP
        num_tokens = num_context = 0
        if answer.usage is not None:
            num_tokens = answer.usage.completion_tokens
            num_context = answer.usage.prompt_tokens + num_tokens if self._counts_context else 0
        return Completion(
            text, reason, None, None, num_tokens=num_tokens, num_context_tokens=num_context
        )

    def expect(self, num_episodes: int) -> None:
        """Need no announcement: the server forms its own batches."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(
        self, request: Request, params: SamplingParams, *, sends_stop: bool
    ) -> ChatCompletion:
        """Ask once; a server that fails at stop strings is asked without them, now and later.

        They save tokens and change no text: what comes after one is cut here in any case.
        """
        body = self._body(request, params)
        create = self._client.chat.completions.create
        if not sends_stop:
            plain: ChatCompletion = await create(**body)
            return plain
        try:
            answer: ChatCompletion = await create(**body, stop=list(params.stop))
        except openai.APIStatusError as fault:
            is_too_long = any(code in str(fault) for code in _CONTEXT_CODES)
            if fault.status_code not in _NO_STOP_STATUS or is_too_long:
                raise
            answer = await self._ask_again(body)
            self._sends_stop = False
        return answer

    async def _ask_again(self, body: dict[str, Any]) -> ChatCompletion:
        create = self._client.chat.completions.create
        try:
            answer: ChatCompletion = await create(**body)
        except openai.APIConnectionError:
            # `transformers serve` drops the connection after a fault of its own.
            answer = await create(**body)
        return answer

    def _body(self, request: Request, params: SamplingParams) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_encode(message) for message in request.messages],
            "temperature": params.temperature,
            "max_tokens": params.max_tokens,
            "seed": params.seed,
        }
        if request.assistant_prefix and self._continues_messages:
            body["messages"].append({"role": "assistant", "content": request.assistant_prefix})
            body["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def _unavailable(self, fault: object) -> BackendUnavailable:
        return BackendUnavailable(
            f"model server {self._client.base_url}, model {self._model}",
            str(fault),
            "check that the server is up, and its address, key and model name",
        )


def build_openai(
    model: str,
    *,
    base_url: str,
    api_key: str,
    timeout_s: float = 660.0,
    num_retries: int = 2,
    continues_messages: bool = False,
) -> OpenAIPolicy:
    """Return a policy for a server; nothing is contacted before the first turn."""
    client = openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=num_retries
    )
    return OpenAIPolicy(model, client=client, continues_messages=continues_messages)


def _encode(message: ChatMessage) -> dict[str, Any]:
    if message.role is not Role.USER:
        return {"role": message.role.value, "content": message.text}
    return {"role": "user", "content": [_encode_part(part) for part in message.parts]}


def _encode_part(part: str | Image.Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    uri = "data:image/png;base64," + base64.b64encode(encode_png(part)).decode()
    return {"type": "image_url", "image_url": {"url": uri}}


def _written(message: ChatCompletionMessage) -> str:
    """Return what the model wrote; a call that the server took out of it is put back."""
    text = message.content or ""
    for call in message.tool_calls or ():
        if call.type == "function":
            name, arguments = json.dumps(call.function.name), call.function.arguments
            text += f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
    return text


def _lost_stop(text: str, stop: Sequence[str], *, told: Mapping[str, object]) -> str:
    # Servers leave the stop string out. vLLM tells which one it was; of others, a block that is
    # open at the end of a finished turn can only have been closed by it.
    if "stop_reason" in told:
        reason = told["stop_reason"]
        return reason if isinstance(reason, str) and reason in stop else ""
    for mark in stop:
        opened = text.rfind(mark.replace("</", "<"))
        if opened > max(text.rfind(mark), text.rfind("</answer>")):
            return mark
    return ""
