"""Takes a key out of texts, in every form in which it may come back."""

import re
from functools import lru_cache

HIDDEN = "[key]"
"""Stands where a key was."""


def hide(text: str, secret: str) -> str:
    """Return the text without a key, as it is or with some of its signs percent-encoded.

    >>> hide("/search?api_key=a%2fb", "a/b")
    '/search?api_key=[key]'
    """
    return _pattern(secret).sub(HIDDEN, text) if secret else text


@lru_cache(maxsize=16)
def _pattern(secret: str) -> re.Pattern[str]:
    signs = (
        f"(?:{re.escape(sign)}|{''.join(f'%{byte:02x}' for byte in sign.encode())})"
        for sign in secret
    )
    return re.compile("".join(signs), re.IGNORECASE)
