"""Who may ask: the key, and on a machine without one nobody but its own programs."""

import hmac
from collections.abc import Mapping

from agentic_vlm.serve.faults import NotAllowed, RequestRefused

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def check_access(headers: Mapping[str, str], *, key: str | None) -> None:
    """Check the headers of a request.

    A web page may send plain forms to this machine, and may point a name of its own at it: so only
    JSON is taken, and without a key only requests that name this machine as the host.

    Raises:
        NotAllowed: the key is missing or wrong, or the host has another name.
        RequestRefused: the body is not declared as JSON.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        fix = "send Content-Type: application/json"
        raise RequestRefused("Content-Type", "not application/json", fix)
    if key is None:
        if host_of(headers.get("host", "")) not in LOOPBACK:
            raise NotAllowed("Host", "without a key only this machine may ask", "use 127.0.0.1")
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), key.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise NotAllowed("Authorization", "wrong key", "send Authorization: Bearer and the key")


def host_of(header: str) -> str:
    """Return the name in a Host header, without the port.

    >>> host_of("127.0.0.1:8000"), host_of("[::1]:8000"), host_of("evil.example")
    ('127.0.0.1', '::1', 'evil.example')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header
