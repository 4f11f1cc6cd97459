"""How the simulated Salesforce refuses a whole request (REST API Developer Guide, "Status Codes and
Error Responses")."""

from __future__ import annotations

from collections.abc import Sequence

STATUS = {
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "INVALID_SESSION_ID": 401,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
    "REQUEST_LIMIT_EXCEEDED": 403,
}


class ApiError(Exception):
    """A refusal of a whole request: Salesforce answers a list of {message, errorCode[, fields]}."""

    def __init__(
        self, code: str, message: str, fields: Sequence[str] = (), status: int = 0
    ) -> None:
        """`status` 0 takes the HTTP status that goes with the code."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = tuple(fields)
        self.status = status or STATUS.get(code, 400)
