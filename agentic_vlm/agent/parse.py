r"""The text of a turn to the action that it asks for.

Order of checks, as in the released environment: the last non-empty `<answer>` wins over `<code>`,
and `<code>` over `<tool_call>`, wherever they stand. Of several blocks the last closed one counts.

>>> parse_turn("<think>easy</think><answer> red </answer>")
FinalAnswer(type='final_answer', text='red')
>>> parse_turn("<think>look</think><code>\n```python\nprint(1)\n```\n</code>").code
'print(1)'
"""

import json
import re
from collections.abc import Iterator

from agentic_vlm.schema import Action, FinalAnswer, ParseFailure, ToolCall

STOP_STRINGS = ("</code>", "</tool_call>")
"""End a turn and stay in its text; after an answer the policy ends its turn itself."""

NO_ACTION = "no code, tool_call or answer in this turn"
EMPTY_ANSWER = "the answer is empty"
NO_FENCE = "the code needs a fenced python block"

_FENCE = re.compile(r"```python\n(.*?)\n```", re.DOTALL)


def parse_turn(text: str) -> Action:
    """Return what a turn asks for; `text` includes the pre-fill.

    The body of a tool call that is no JSON object with a name becomes a call of the tool "",
    with the body as its arguments: the toolbox tells the model what is wrong with it.
    """
    answers = [body.strip() for body in _closed(text, "answer")]
    filled = [answer for answer in answers if answer]
    if filled:
        return FinalAnswer(text=filled[-1])
    if "<code>" in text:
        return _parse_code(text)
    if "<tool_call>" in text:
        return _parse_call(text)
    if answers:
        return ParseFailure(reason=EMPTY_ANSWER)
    return ParseFailure(reason=_unclosed("answer") if "<answer>" in text else NO_ACTION)


def parse_direct(text: str) -> Action:
    """Return the answer of a turn without tools: the answer block, else all after the thinking."""
    filled = [body.strip() for body in _closed(text, "answer") if body.strip()]
    answer = filled[-1] if filled else text.rpartition("</think>")[2].strip()
    return FinalAnswer(text=answer) if answer else ParseFailure(reason=EMPTY_ANSWER)


def _parse_code(text: str) -> Action:
    blocks = list(_closed(text, "code"))
    if not blocks:
        return ParseFailure(reason=_unclosed("code"))
    fences = _FENCE.findall(blocks[-1])
    if not fences:
        return ParseFailure(reason=NO_FENCE)
    return ToolCall(tool="python", code=fences[-1])


def _parse_call(text: str) -> Action:
    blocks = list(_closed(text, "tool_call"))
    if not blocks:
        return ParseFailure(reason=_unclosed("tool_call"))
    body = blocks[-1].strip()
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        call = None
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        return ToolCall(tool="", arguments_json=body)
    if "arguments" not in call:
        return ToolCall(tool=_storable(name))
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return ToolCall(tool=_storable(name), arguments_json=_storable(arguments))


def _closed(text: str, tag: str) -> Iterator[str]:
    opening, closing = f"<{tag}>", f"</{tag}>"
    position = 0
    while (start := text.find(opening, position)) >= 0:
        end = text.find(closing, start)
        if end < 0:
            return
        yield text[start + len(opening) : end]
        position = end + len(closing)


def _unclosed(tag: str) -> str:
    return f"{tag} is not closed"


def _storable(text: str) -> str:
    # JSON may name half of a surrogate pair, which no UTF-8 file and no search engine takes.
    return text.encode("utf-8", "replace").decode()
