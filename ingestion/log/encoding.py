"""How events and rejections become bytes, keys and hashes in the log; no storage and no network."""

from __future__ import annotations

import base64
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from typing import Any

import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import ErasedWhom, Erasure, Event, Rejection

# The same event delivered twice arrives with another trace; that alone must not make it another
# event.
TRACE_FIELDS = ("traceparent", "tracestate")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """`key` (16 bytes) stands for source and id, `digest` (32 bytes) for the content without its
    trace.
    """

    key: bytes
    digest: bytes
    payload: bytes
    payload_hash: bytes


def event_key(source: str, event_id: str) -> bytes:
    """16 bytes that identify `source` and `event_id` for ever."""
    return blake2b(orjson.dumps([source, event_id]), digest_size=16).digest()


def encode_event(event: Event) -> EncodedEvent:
    """Encode `event`; HandoffError when it has no source or id, or holds what JSON cannot carry
    unchanged.
    """
    for name in ("source", "id"):
        value = event.get(name)
        if not isinstance(value, str) or not value:
            raise HandoffError(
                "SCHEMA_INVALID",
                f"{name!r} must be a non-empty string, not {value!r}",
                path=f"/{name}",
            )
    try:
        payload = orjson.dumps(event)
        if any(name in event for name in TRACE_FIELDS):
            content = {name: value for name, value in event.items() if name not in TRACE_FIELDS}
        else:
            content = event
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        key = event_key(event["source"], event["id"])
    except TypeError as error:
        # Integers beyond 64 bits and lone surrogates end here.
        raise HandoffError(
            "FIELD_MISMATCH", f"the event cannot be stored as JSON without loss: {error}", path=""
        ) from error
    # orjson writes NaN and infinities as null: a changed value, so it is refused instead.
    if b"null" in payload and has_non_finite(event):
        raise HandoffError("FIELD_MISMATCH", "the event holds NaN or an infinite number", path="")
    return EncodedEvent(key, sha256(canonical).digest(), payload, sha256(payload).digest())


def has_non_finite(value: Any) -> bool:
    """Whether a number that JSON does not have stands anywhere in `value`."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return True
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return False


def chain_link(
    previous: bytes, seq: int, received_us: int, key: bytes, payload_hash: bytes
) -> bytes:
    """The hash that binds one event to all before it (32 bytes)."""
    position = seq.to_bytes(8, "big") + received_us.to_bytes(8, "big", signed=True)
    return sha256(previous + position + key + payload_hash).digest()


def rejection_key(rejection: Rejection) -> bytes:
    """16 bytes equal for equal rejections, whoever's request they came with."""
    head = orjson.dumps([rejection.door, rejection.code, rejection.path])
    return blake2b(sha256(head).digest() + rejection.payload, digest_size=16).digest()


def to_microseconds(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant, exactly."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """The instant in UTC, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def rejection_to_json(rejection: Rejection) -> dict[str, Any]:
    """A rejection as JSON values, its payload in base64."""
    value = asdict(rejection) | {"payload": base64.b64encode(rejection.payload).decode("ascii")}
    # Unsaid when there is none: an owner that was started before there were contexts takes that too.
    if value["context"] is None:
        del value["context"]
    return value


def rejection_from_json(value: dict[str, Any]) -> Rejection:
    """The inverse of `rejection_to_json`."""
    return Rejection(**(value | {"payload": base64.b64decode(value["payload"])}))


def erasure_to_json(erasure: Erasure) -> dict[str, Any]:
    """An erasure as JSON values, bytes in base64."""
    whom = erasure.whom
    return {
        "evidence": list(erasure.evidence),
        "payloads": [[seq, _text(payload)] for seq, payload in erasure.payloads.items()],
        "quarantine_ids": list(erasure.quarantine_ids),
        "whom": None
        if whom is None
        else [_text(whom.salt), [[_text(key), at] for key, at in whom.keys.items()]],
    }


def erasure_from_json(value: dict[str, Any]) -> Erasure:
    """The inverse of `erasure_to_json`."""
    whom = value["whom"]
    return Erasure(
        value["evidence"],
        {seq: base64.b64decode(payload) for seq, payload in value["payloads"]},
        value["quarantine_ids"],
        None
        if whom is None
        else ErasedWhom(
            base64.b64decode(whom[0]), {base64.b64decode(key): at for key, at in whom[1]}
        ),
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
