"""The policy behind a server: its address, its name there, and whether it sees pictures."""

import asyncio
import json
from pathlib import Path

import httpx2
import openai
import pytest

from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy
from agentic_vlm.backends.served import build_served, check_sees_pictures
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import ModelParams
from agentic_vlm.schema import CheckpointCard

CARD = CheckpointCard(
    checkpoint_id="abc",
    stage="train_sft",
    parent="",
    architecture="Qwen3VLForConditionalGeneration",
    num_parameters=1,
    step=0,
    seed=0,
)


def build() -> PatientPolicy:
    return build_served(ModelParams(policy="openai"), CARD, checkpoint=Path("models/sft"))


def test_the_policy_is_named_by_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_POLICY_URL", "http://server.test/v1")
    assert build().policy_id == "abc"


def test_a_checkpoint_may_have_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTIC_POLICY_URL", raising=False)
    monkeypatch.setenv("AGENTIC_POLICY_URL_SFT", "http://server.test/v1")
    assert build().policy_id == "abc"


def test_a_missing_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTIC_POLICY_URL", raising=False)
    with pytest.raises(InfrastructureError, match="without an address"):
        build()


@pytest.mark.parametrize("text", ["-1", "soon", "nan"])
def test_a_patience_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AGENTIC_POLICY_URL", "http://server.test/v1")
    monkeypatch.setenv("AGENTIC_POLICY_PATIENCE_S", text)
    with pytest.raises(ParamsError, match="no positive number"):
        build()


@pytest.mark.parametrize("sees", [True, False])
def test_a_server_that_drops_pictures_is_refused(*, sees: bool) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        content = json.loads(request.content)["messages"][0]["content"]
        num_pictures = sum(part["type"] == "image_url" for part in content) if sees else 0
        choice = {"index": 0, "finish_reason": "length"}
        choice["message"] = {"role": "assistant", "content": "x"}
        usage = {"prompt_tokens": 10 + 4 * num_pictures, "completion_tokens": 1, "total_tokens": 0}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        return httpx2.Response(200, json={**body, "choices": [choice], "usage": usage})

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    client = openai.AsyncOpenAI(base_url="http://server.test/v1", api_key="k", http_client=http)
    policy = PatientPolicy(OpenAIPolicy("m", client=client, counts_context=True), patience_s=1.0)
    if sees:
        asyncio.run(check_sees_pictures(policy))
    else:
        with pytest.raises(InfrastructureError, match="10 tokens without a picture and 10 with"):
            asyncio.run(check_sees_pictures(policy))
