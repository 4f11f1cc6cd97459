"""When a delivery is tried again; knows no clock."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

from ingestion.subscribers.subscription import DeliveryPolicy

# As long as the longest step of the schedule: a receiver cannot put itself off for ever.
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
FIRST_HOLD_SECONDS = 5.0
LONGEST_HOLD_SECONDS = 900.0
# A receiver that was down for an hour must not get everything in the same instant.
JITTER_SHARE = 0.2


def retry_delay(
    policy: DeliveryPolicy, attempts: int, retry_after: float | None, jitter: random.Random
) -> float | None:
    """Seconds until the next attempt after `attempts` failed ones, None when that was the last."""
    if attempts >= policy.most_attempts:
        return None
    seconds = policy.retry_seconds[attempts - 1]
    seconds *= 1 + jitter.uniform(-JITTER_SHARE, JITTER_SHARE)
    return max(seconds, _asked(retry_after, jitter))


def hold_delay(holds: int, retry_after: float | None, jitter: random.Random) -> float:
    """Seconds in which a subscriber that asked for less is sent nothing at all; `holds` counts from 1."""
    ceiling = min(FIRST_HOLD_SECONDS * 2.0 ** (holds - 1), LONGEST_HOLD_SECONDS)
    return max(ceiling * (1 + jitter.uniform(0, JITTER_SHARE)), _asked(retry_after, jitter))


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """What a Retry-After header asks for, in seconds from `now` (Unix time): a number or a date (RFC 9110); None when it is neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _asked(retry_after: float | None, jitter: random.Random) -> float:
    if retry_after is None:
        return 0.0
    bounded = min(retry_after, LONGEST_RETRY_AFTER_SECONDS)
    # Later, never sooner than asked.
    return bounded * (1 + jitter.uniform(0, JITTER_SHARE / 2))
