"""What an org allows its callers: calls in 24 hours, and long ones at the same time.

Sources: REST API Developer Guide, "Limit Info Header" and "Status Codes and Error Responses";
Salesforce Developer Limits and Allocations, "API Request Limits and Allocations".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import httpx

_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")
LOG_IN = "services/oauth2/token"


class TooManyAtOnce(HandoffError):
    """Too many calls that take long at the same time: they end by themselves."""


class OrgLimits:
    """The calls of one connection; a polling.Limits."""

    def __init__(self, percent: float) -> None:
        """`percent` of the org's calls are ours to use together with everybody else."""
        self._percent = percent
        self._usage: tuple[int, int] | None = None

    def wait_seconds(self, path: str) -> float:
        """None at all; QUOTA_EXHAUSTED once the share is used: the rest is left to those who work in
        the org, and to our pushes. A log-in is no call."""
        if self._usage is None or path == LOG_IN:
            return 0.0
        used, allowed = self._usage
        if used * 100 < allowed * self._percent:
            return 0.0
        raise HandoffError(
            "QUOTA_EXHAUSTED",
            f"salesforce: {used} of the org's {allowed} API calls of 24 hours are used, and polls "
            f"stop at {self._percent:g} %",
            remedy="The next poll goes on where this one stopped. Polls stop earlier or later with "
            "HANDOFF_SALESFORCE_USAGE_PERCENT; Setup > Company Information shows the allocation.",
        )

    def note(self, response: httpx.Response) -> None:
        """Read Sforce-Limit-Info; answers without it change nothing."""
        found = _USAGE.search(response.headers.get("sforce-limit-info", ""))
        if found is not None:
            self._usage = int(found[1]), int(found[2])

    def final(self, response: httpx.Response) -> HandoffError | None:
        """RATE_LIMITED for REQUEST_LIMIT_EXCEEDED, which comes as 403 and is no matter of permissions;
        None for any other refusal."""
        if response.status_code != 403:
            return None
        code, message = _error(response.content)
        if code != "REQUEST_LIMIT_EXCEEDED":
            return None
        said = f"salesforce: {response.request.url.path}: {code}: {message}"
        if "concurrent" in message.lower():
            return TooManyAtOnce("RATE_LIMITED", said)
        return HandoffError(
            "RATE_LIMITED",
            said,
            remedy="The org's calls of 24 hours are used up; the next poll goes on where this one "
            "stopped. HANDOFF_SALESFORCE_USAGE_PERCENT makes polls stop earlier.",
        )


def _error(body: bytes) -> tuple[str, str]:
    """`errorCode` and `message` of the first error of a refusal."""
    try:
        errors = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    first = errors[0] if isinstance(errors, list) and errors else errors
    if not isinstance(first, dict):
        return "", ""
    return str(first.get("errorCode", "")), str(first.get("message", ""))
