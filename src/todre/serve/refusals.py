"""The error that a client is answered with, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from todre.errors import TodreError
from todre.methods.shared.names import suggestion

_SHORT = 4
"""Most names that a message lists."""
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "server_error"}


class RefusedError(TodreError):
    """A request is refused.

    Args:
        message: one sentence: what was wrong, the value, what to do.
        status: HTTP status.
        param: the field of the request that is wrong.
        code: OpenAI's short name of the error.
    """

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """The body of the reply."""
        return error_body(str(self), self.status, self.param, self.code)


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def check_known(owner: str, values: dict[str, Any], known: tuple[str, ...], param: str) -> None:
    """Raise if an object has a field that is not known.

    Fields that are null count as left out.
    """
    unknown = next((name for name in values if name not in known and values[name] is not None), None)
    if unknown is not None:
        takes = f"it takes {', '.join(known)}" if len(known) <= _SHORT else "leave it out"
        raise RefusedError(
            f"{owner} has a field {unknown[:60]!r}, which this server does not take; "
            f"{suggestion(unknown, known)}{takes}.",
            param=f"{param}.{unknown[:60]}" if param else unknown[:60],
        )
