"""Requests: what is understood, what is refused, and how a conversation becomes one question."""

import pytest

from agentic_vlm.params import VisionParams
from agentic_vlm.serve.access import check_access
from agentic_vlm.serve.conversation import read_question
from agentic_vlm.serve.faults import NotAllowed, RequestRefused, TooLarge
from agentic_vlm.serve.limits import Limits
from agentic_vlm.serve.wire import parse_request

HELLO = {"role": "user", "content": "What is it?"}


def request(*messages, **fields):
    return parse_request({"model": "agent", "messages": list(messages) or [HELLO], **fields})


def question(*messages, limits=None):
    asked = request(*messages)
    return read_question(asked.messages, limits=limits or Limits(), vision=VisionParams())


def picture(uri):
    return {"type": "image_url", "image_url": {"url": uri}}


def test_fields_of_other_clients_are_let_through():
    asked = request(temperature=None, n=1, user="x", top_p=1.0, frequency_penalty=0, tools=[])
    assert (asked.temperature, asked.stream, asked.mode) == (0.0, False, "agent")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"mode": "guess"}, "mode"),
        ({"messages": []}, "messages"),
        ({"model": None}, "model"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(fields, where):
    with pytest.raises(RequestRefused) as caught:
        parse_request({"model": "agent", "messages": [HELLO], **fields})
    assert caught.value.where == where
    assert caught.value.body()["error"]["param"] == where


def test_pictures_of_a_message_are_numbered_where_they_stood(data_uri):
    content = [
        {"type": "text", "text": "Compare"}, picture(data_uri("red")),
        {"type": "text", "text": "with"},
        picture(data_uri("blue")),
    ]  # fmt: skip
    found = question({"role": "user", "content": content})
    assert found.text == "Compare\n[image_1]\nwith\n[image_2]"
    assert [image.getpixel((0, 0)) for image in found.images] == [(255, 0, 0), (0, 0, 255)]


def test_a_single_picture_needs_no_number(data_uri):
    found = question(
        {"role": "user", "content": [picture(data_uri()), {"type": "text", "text": "?"}]}
    )
    assert found.text == "?"


def test_earlier_messages_stand_before_the_question():
    found = question(
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada."}, {"role": "user", "content": "When?"},
    )  # fmt: skip
    assert found.text == (
        "Be brief.\n\nEarlier in this conversation:\nUser: Who?\nAssistant: Ada.\n\nWhen?"
    )


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("https://example.org/x.png", "no data address"),
        ("file:///etc/passwd", "no data address"),
        ("data:text/html;base64,AAAA", "no data address"),
        ("data:image/png;base64,&&&&", "no base64 text"),
        ("data:image/png;base64,AAAA", "broken picture"),
        ("tiny", "outside the limits"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_and_nothing_is_fetched(data_uri, uri, what):
    uri = data_uri(size=(10, 10)) if uri == "tiny" else uri
    with pytest.raises(RequestRefused, match=what) as caught:
        question({"role": "user", "content": [picture(uri), {"type": "text", "text": "?"}]})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_image_bytes=50),
        Limits(max_image_pixels=100),
        Limits(max_images=0),
        Limits(max_chars=0),
    ],
)
def test_too_much_of_anything_is_413(data_uri, limits):
    content = [picture(data_uri()), {"type": "text", "text": "?"}]
    with pytest.raises(TooLarge) as caught:
        question({"role": "user", "content": content}, limits=limits)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "last", [{"role": "assistant", "content": "x"}, {"role": "user", "content": " "}]
)
def test_a_conversation_ends_with_a_question(last):
    with pytest.raises(RequestRefused):
        question(HELLO, last)


JSON = {"content-type": "application/json; charset=utf-8"}


def test_the_key_is_compared_whole():
    check_access({**JSON, "authorization": "Bearer secret"}, key="secret")
    for header in ("Bearer secre", "Bearer secretx", "Bearer", "Basic secret", ""):
        with pytest.raises(NotAllowed):
            check_access({**JSON, "authorization": header}, key="secret")


def test_without_a_key_only_this_machine_may_ask():
    check_access({**JSON, "host": "127.0.0.1:8000"}, key=None)
    check_access({**JSON, "host": "[::1]:8000"}, key=None)
    with pytest.raises(NotAllowed, match="only this machine"):
        check_access({**JSON, "host": "rebound.example:8000"}, key=None)


def test_forms_of_web_pages_are_refused():
    with pytest.raises(RequestRefused, match="not application/json"):
        check_access({"content-type": "text/plain", "host": "localhost"}, key=None)
