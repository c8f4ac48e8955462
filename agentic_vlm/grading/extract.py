"""The final answer of a text that a model wrote."""

_ACTION_TAGS = ("<answer>", "</answer>", "<code>", "<tool_call>")


def extract_answer(text: str, *, allow_plain: bool = True) -> str | None:
    """Return the answer, or None where the text gives none.

    The last pair of answer tags with something in it, after the last `</think>`. Text before that
    is thinking: an answer tag there is a thought about the format.

    Args:
        text: what the model wrote, pre-fill included.
        allow_plain: take the whole reply where it has no tags at all, as direct mode asks for;
            an unfinished thought, code or call is still no answer.

    >>> extract_answer("<think>I guess <answer>3</answer></think> <answer> 4 </answer>")
    '4'
    >>> extract_answer("The bar is red.")
    'The bar is red'
    >>> extract_answer("<think>hm</think><answer></answer>") is None
    True
    """
    reply = text.rpartition("</think>")[2]
    limit = len(reply)
    while (start := reply.rfind("<answer>", 0, limit)) >= 0:
        end = reply.find("</answer>", start, limit)
        answer = reply[start + len("<answer>") : end].strip() if end >= 0 else ""
        if answer:
            return answer
        limit = start
    if not allow_plain or "<think>" in reply or any(tag in reply for tag in _ACTION_TAGS):
        return None
    reply = reply.strip()
    if reply.endswith(".") and not reply.endswith(".."):
        reply = reply[:-1].rstrip()
    return reply or None


def extract_as_released(text: str) -> str:
    """Return the answer as the released evaluation takes it: the first tags, else everything.

    Source: the VLMEvalKit fork in DeepEyesV2 0373e6e, agent mode.

    >>> extract_as_released("<answer>3</answer> no, <answer>4</answer>")
    '3'
    """
    start = text.find("<answer>")
    end = text.find("</answer>", start)
    if start < 0 or end < 0:
        return text
    return text[start + len("<answer>") : end].strip()
