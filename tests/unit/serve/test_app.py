"""The endpoint, driven over HTTP by OpenAI's own client."""

import asyncio
import threading

import httpx2
import openai
import pytest

from agentic_vlm.backends.base import Completion, FinishReason
from agentic_vlm.errors import BackendUnavailable, SandboxUnavailable
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.serve.limits import Limits

ANSWER = "it is wide</think><answer>40</answer>"
SEARCH = (
    '<think>?</think><tool_call>\n{"name": "search", "arguments": {"query": "q"}}\n</tool_call>'
)


@pytest.fixture
def client():
    """Give a function that makes a client of a server; they are closed with the test."""
    made = []

    def make(server, key="secret"):
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def two_pictures(data_uri):
    """Give a question with two pictures."""
    pictures = [{"type": "image_url", "image_url": {"url": data_uri(c)}} for c in ("red", "blue")]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": "How wide is 2?"}]}]


@pytest.fixture
def crop_then_answer(turn):
    return lambda request: ANSWER if request.turn else turn("image_2.size")


def test_an_answer_comes_with_its_turns_and_tokens(serve, client, two_pictures, crop_then_answer):
    server = serve(crop_then_answer)
    answer = client(server).chat.completions.create(model="agent", messages=two_pictures)
    message = answer.choices[0].message
    assert message.content == "40"
    assert answer.choices[0].finish_reason == "stop"
    told = message.model_extra["reasoning_content"]
    assert "image_2.size" in told
    assert "(40, 32)" in told
    assert server.service.runtime.kit.sandbox.sessions[0].images[1].getpixel((0, 0)) == (0, 0, 255)


def test_turns_are_streamed_as_they_happen(serve, client, two_pictures, turn):
    # The second turn is not written before the client has read the first one.
    has_read = threading.Event()

    def script(request):
        if request.turn:
            assert has_read.wait(60)
            return ANSWER
        return turn("image_2.size")

    server = serve(None, policy=Threaded(script))
    stream = client(server).chat.completions.create(
        model="agent", messages=two_pictures, stream=True, stream_options={"include_usage": True}
    )
    told, content, finish, usage = "", "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            told += (choice.delta.model_extra or {}).get("reasoning_content", "")
            content += choice.delta.content or ""
            finish = choice.finish_reason or finish
        if "image_2.size" in told:
            has_read.set()
    assert (content, finish) == ("40", "stop")
    assert told.index("image_2.size") < told.index("(40, 32)") < told.index("it is wide")
    assert usage is not None


class Threaded:
    """A policy whose script may block without blocking the server."""

    policy_id = "scripted:threaded"

    def __init__(self, script):
        self.script = script
        self.cancelled = threading.Event()

    async def complete(self, request, params):
        try:
            text = await asyncio.to_thread(self.script, request)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Completion(text, FinishReason.STOP, None, None, num_tokens=3)

    def expect(self, num_episodes):
        pass

    def done(self, episode_id):
        pass

    async def close(self):
        pass


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_hangs_up_ends_its_episode(serve, two_pictures, is_streamed):
    started, may_end = threading.Event(), threading.Event()

    def script(request):
        started.set()
        assert may_end.wait(60)
        return ANSWER

    policy = Threaded(script)
    server = serve(None, policy=policy)
    body = {"model": "agent", "messages": two_pictures, "stream": is_streamed}
    headers = {"Authorization": "Bearer secret"}

    def ask_until_closed():
        # Closing the client from another thread is no clean hang-up; a read timeout is.
        with httpx2.Client(timeout=httpx2.Timeout(60, read=1)) as http:
            try:
                with http.stream(
                    "POST", f"{server.url}/v1/chat/completions", json=body, headers=headers
                ) as reply:
                    for _ in reply.iter_raw():
                        started.wait(60)
                        return
            except httpx2.ReadTimeout:
                return

    try:
        ask_until_closed()
        assert started.wait(60)
        assert policy.cancelled.wait(60)
    finally:
        may_end.set()


class Meeting(Threaded):
    """A policy that answers nobody before so many ask at once."""

    def __init__(self, num_guests):
        super().__init__(None)
        self.num_missing = num_guests
        self.is_complete = asyncio.Event()

    async def complete(self, request, params):
        self.num_missing -= 1
        if self.num_missing == 0:
            self.is_complete.set()
        await self.is_complete.wait()
        number = request.messages[-1].text.partition("number ")[2].split()[0]
        return Completion(f"<answer>{number}</answer>", FinishReason.STOP, None, None)


@pytest.mark.slow
def test_32_clients_at_once_each_get_their_own_answer(serve, client, data_uri):
    server = serve(None, policy=Meeting(32))
    answers = [""] * 32

    def ask(number):
        part = {"type": "image_url", "image_url": {"url": data_uri()}}
        content = [part, {"type": "text", "text": f"This is number {number} of 32"}]
        reply = client(server).chat.completions.create(
            model="agent", messages=[{"role": "user", "content": content}]
        )
        answers[number] = reply.choices[0].message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert answers == [str(number) for number in range(32)]


def test_a_tool_that_is_down_is_told_to_the_model_which_goes_on(serve, client, two_pictures):
    server = serve(
        lambda request: ANSWER if request.turn else SEARCH, provider=FakeSearch(num_outages=99)
    )
    answer = client(server).chat.completions.create(model="agent", messages=two_pictures)
    told = answer.choices[0].message.model_extra["reasoning_content"]
    assert "The tool search is not available at the moment; go on without it" in told
    assert answer.choices[0].message.content == "40"


class DeadSandbox(FakeSandbox):
    async def open(self, images, *, seed):
        raise SandboxUnavailable("sandbox", "gone", "start it")


def test_a_dead_sandbox_is_told_too(serve, client, two_pictures, crop_then_answer):
    server = serve(crop_then_answer, sandbox=DeadSandbox())
    answer = client(server).chat.completions.create(model="agent", messages=two_pictures)
    assert (
        "tool python is not available" in answer.choices[0].message.model_extra["reasoning_content"]
    )


def dead(request):
    raise BackendUnavailable("model server", "gone", "start it")


def test_a_dead_model_is_an_error_and_no_answer(serve, client, two_pictures):
    made = client(serve(dead))
    with pytest.raises(openai.InternalServerError) as caught:
        made.chat.completions.create(model="agent", messages=two_pictures)
    assert caught.value.status_code == 503
    with pytest.raises(openai.APIError, match="it did not answer"):
        list(made.chat.completions.create(model="agent", messages=two_pictures, stream=True))


def test_a_wrong_key_is_refused_everywhere(serve, client, two_pictures, crop_then_answer):
    server = serve(crop_then_answer)
    stranger = client(server, key="wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="agent", messages=two_pictures)
    assert [model.id for model in client(server).models.list()] == ["agent"]


def test_an_oversized_picture_or_body_is_refused(serve, client, two_pictures, crop_then_answer):
    for limits in (
        Limits(max_image_pixels=100),
        Limits(max_image_bytes=60),
        Limits(max_body_bytes=99),
    ):
        made = client(serve(crop_then_answer, limits=limits))
        with pytest.raises(openai.APIStatusError) as caught:
            made.chat.completions.create(model="agent", messages=two_pictures)
        assert caught.value.status_code == 413


def test_another_model_is_not_found(serve, client, two_pictures, crop_then_answer):
    with pytest.raises(openai.NotFoundError, match="ask for 'agent'"):
        client(serve(crop_then_answer)).chat.completions.create(model="x", messages=two_pictures)


def test_who_comes_when_all_places_are_taken_is_told_to_wait(serve, client, two_pictures):
    inside, may_end = threading.Event(), threading.Event()

    def script(request):
        inside.set()
        assert may_end.wait(60)
        return ANSWER

    server = serve(None, policy=Threaded(script), limits=Limits(max_running=1, max_waiting=0))
    answers = []

    def ask():
        reply = client(server).chat.completions.create(model="agent", messages=two_pictures)
        answers.append(reply.choices[0].message.content)

    first = threading.Thread(target=ask)
    first.start()
    try:
        assert inside.wait(60)
        with pytest.raises(openai.RateLimitError):
            client(server).chat.completions.create(model="agent", messages=two_pictures)
    finally:
        may_end.set()
        first.join(60)
    assert answers == ["40"]


def test_a_request_past_its_deadline_is_told_so(serve, client, two_pictures):
    may_end = threading.Event()

    def script(request):
        may_end.wait(60)
        return ANSWER

    made = client(serve(None, policy=Threaded(script), limits=Limits(deadline_s=0.05)))
    try:
        with pytest.raises(openai.APIStatusError) as caught:
            made.chat.completions.create(model="agent", messages=two_pictures)
        assert caught.value.status_code == 504
        with pytest.raises(openai.APIError, match="no answer within"):
            list(made.chat.completions.create(model="agent", messages=two_pictures, stream=True))
    finally:
        may_end.set()


def test_a_request_may_do_without_tools_or_with_few(serve, client, two_pictures):
    systems = []

    def script(request):
        systems.append(request.messages[0].text)
        return "<answer>40</answer>"

    made = client(serve(script))
    for extra in ({"mode": "direct"}, {"agent_tools": ["python"]}, {"mode": "think"}):
        made.chat.completions.create(model="agent", messages=two_pictures, extra_body=extra)
    assert "tool_call" not in systems[0]
    assert "code" in systems[1]
    assert "search" not in systems[1]
    assert "Think step by step inside <think> </think>" in systems[2]
    assert "tool_call" not in systems[2]
    with pytest.raises(openai.BadRequestError, match="agent_tools"):
        made.chat.completions.create(
            model="agent", messages=two_pictures, extra_body={"agent_tools": []}
        )


def test_an_episode_without_an_answer_gives_its_last_words(serve, client, two_pictures):
    made = client(serve(lambda request: "I wonder"))
    answer = made.chat.completions.create(model="agent", messages=two_pictures)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        "I wonder",
        "stop",
    )


def test_a_server_for_others_needs_a_key(capsys, monkeypatch):
    from agentic_vlm.serve.__main__ import main

    monkeypatch.delenv("AGENTIC_SERVE_KEY", raising=False)
    assert main(["--host", "0.0.0.0"]) == 1
    assert "set AGENTIC_SERVE_KEY" in capsys.readouterr().err
