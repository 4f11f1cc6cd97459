"""When and how long to wait before asking an outside system again; knows no requests."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from ingestion.outbound.destination import DestinationFault, FaultKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries per request, and the bounds of the exponential wait between them in seconds.

    A Retry-After beyond `longest_wait_seconds` ends the run instead: the next one comes soon
    enough.
    """

    tries: int = 6
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 60.0


class TryAgain(Exception):
    """Raised inside an attempt to have it repeated; carries what the system asked for."""

    def __init__(self, code: str, message: str, retry_after_seconds: float | None) -> None:
        """Plain values; see the class."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds


def retrying(policy: RetryPolicy, sleep: Callable[[float], None]) -> tenacity.Retrying:
    """Attempts with exponential backoff, full jitter and Retry-After; ends by raising the last
    exception.
    """

    def asked(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome is not None else None
        value = getattr(error, "retry_after_seconds", None)
        return float(value) if value is not None else None

    def wait(state: tenacity.RetryCallState) -> float:
        ceiling = policy.first_wait_seconds * 2.0 ** (state.attempt_number - 1)
        jitter = random.uniform(0.0, min(ceiling, policy.longest_wait_seconds))
        # Jitter on top of Retry-After, or every client comes back in the same instant.
        return (asked(state) or 0.0) + jitter

    def stop(state: tenacity.RetryCallState) -> bool:
        seconds = asked(state)
        return state.attempt_number >= policy.tries or (
            seconds is not None and seconds > policy.longest_wait_seconds
        )

    def is_passing(error: BaseException) -> bool:
        return isinstance(error, TryAgain) or (
            isinstance(error, DestinationFault)
            and error.kind in (FaultKind.NOT_WRITTEN, FaultKind.UNKNOWN)
        )

    return tenacity.Retrying(
        stop=stop,
        wait=wait,
        retry=tenacity.retry_if_exception(is_passing),
        sleep=sleep,
        reraise=True,
    )


def call(policy: RetryPolicy, sleep: Callable[[float], None], read: Callable[[], T]) -> T:
    """Calls `read`, which must be safe to repeat, until it answers; raises the last
    DestinationFault.
    """
    return retrying(policy, sleep)(read)
