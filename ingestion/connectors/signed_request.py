"""What a webhook signature is checked against, and the checks every scheme shares; the schemes
stand in signature_schemes.py.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingestion.errors.catalog import HandoffError

WINDOW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A delivery as it came: `url` as the sender saw it, `headers` by lower-case name, `body` raw.

    A header sent more than once must not be chosen from: join its values, so that no signature
    matches.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


def header(request: SignedRequest, name: str) -> str:
    """A header that must be there; SIGNATURE_INVALID names it when it is not."""
    value = request.headers.get(name)
    if not value:
        raise HandoffError("SIGNATURE_INVALID", f"the header {name} is missing")
    return value


def require_recent(
    stamp: str, per_second: int, now: datetime, window_seconds: int = WINDOW_SECONDS
) -> datetime:
    """The instant in a timestamp header, in units of 1 / `per_second` seconds since 1970.

    SIGNATURE_EXPIRED when it is more than `window_seconds` from `now` on either side,
    SIGNATURE_INVALID when it is no plain positive integer: two spellings of one instant would be
    two signatures for one delivery.
    """
    plain = stamp.isascii() and stamp.isdigit() and not stamp.startswith("0")
    if not plain or len(stamp) > len(str(per_second)) + 10:
        raise HandoffError(
            "SIGNATURE_INVALID", f"the signed timestamp is no integer: {stamp[:40]!r}"
        )
    ticks = int(stamp)
    age = int(now.timestamp() * per_second) - ticks
    if abs(age) > window_seconds * per_second:
        side = "old" if age > 0 else "in the future"
        raise HandoffError(
            "SIGNATURE_EXPIRED",
            f"the signed timestamp is {abs(age) // per_second} s {side};"
            f" at most {window_seconds} s are allowed",
        )
    return datetime.fromtimestamp(ticks / per_second, UTC)


def require_match(expected: Iterable[str], given: Sequence[str]) -> None:
    """SIGNATURE_INVALID unless one of `given` equals one of `expected`.

    Every pair is compared in constant time and none ends the loop early, so the time taken tells
    nothing of which key or how much of it fits. Texts are compared, not decoded bytes: base64 has
    several spellings of one value.
    """
    # Undecodable header bytes arrive as surrogates; they never match, and must not raise either.
    sent = [value.encode("utf-8", "backslashreplace") for value in given]
    matches = False
    for signature in expected:
        for value in sent:
            matches |= hmac.compare_digest(signature.encode("ascii"), value)
    if not matches:
        raise HandoffError("SIGNATURE_INVALID", "no active secret produces the signature sent")
