"""Why a request is refused, in the form in which OpenAI's clients understand it."""

from typing import Any, ClassVar

from agentic_vlm.errors import AgenticError


class RequestRefused(AgenticError):
    """A request that cannot be carried out; `where` names the field."""

    status: ClassVar[int] = 400
    """HTTP status."""
    kind: ClassVar[str] = "invalid_request_error"
    """`error.type` of the answer."""
    code: ClassVar[str] = "invalid_value"
    """`error.code` of the answer."""

    def body(self) -> dict[str, Any]:
        """Return the JSON answer."""
        return error_body(
            f"{self.where}: {self.what}; {self.fix}",
            kind=self.kind,
            code=self.code,
            field=self.where,
        )


class TooLarge(RequestRefused):
    """The body, a picture or their number is over a limit."""

    status = 413
    code = "too_large"


class NotAllowed(RequestRefused):
    """The key is missing or wrong, or a web page of somebody else asks."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class NoSuchModel(RequestRefused):
    """Another model is asked for."""

    status = 404
    code = "model_not_found"


class Busy(RequestRefused):
    """Too many requests wait already."""

    status = 429
    kind = "rate_limit_error"
    code = "busy"


class OutOfOrder(RequestRefused):
    """The model itself failed; a failing tool is told to the model instead."""

    status = 503
    kind = "server_error"
    code = "unavailable"


class TooSlow(RequestRefused):
    """The deadline of the request passed."""

    status = 504
    kind = "server_error"
    code = "deadline"


def error_body(message: str, *, kind: str, code: str, field: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI's API writes it."""
    return {"error": {"message": message, "type": kind, "code": code, "param": field}}
