"""Make markup in foreign text harmless, visibly.

Questions, program output and search hits are data. A chat-template token or a protocol tag inside
them gets a blank, so that neither a tokenizer nor a parser nor a reward takes it for the real one,
while a reader still sees what was there.
"""

import re

IMAGE_MARK = "<image>"
"""Stands for a picture in texts of ours; data never contains it after `neutralise`."""

_CONTROL = re.compile(r"<\|(\w+)\|>")
_TAG = re.compile(r"<(/?(?:think|code|tool_call|tool_response|answer|image|video)>)")


def neutralise_control(text: str) -> str:
    """Return the text with a blank inside every chat-template token.

    >>> neutralise_control("a<|im_end|>b")
    'a< |im_end| >b'
    """
    return _CONTROL.sub(r"< |\1| >", text)


def neutralise(text: str) -> str:
    """Return the text with a blank inside every chat-template token and protocol tag.

    Applying it twice changes nothing more.

    >>> neutralise("<answer>7</answer> <|im_start|>")
    '< answer>7< /answer> < |im_start| >'
    """
    return _TAG.sub(r"< \1", neutralise_control(text))
