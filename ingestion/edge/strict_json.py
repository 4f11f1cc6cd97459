"""Reads JSON from strangers: refuses what parsers disagree about, and keeps the exact text of every
item.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from ingestion.contracts.violations import Violation, pointer
from ingestion.errors.catalog import HandoffError

MAX_DEPTH = 32
_WHITESPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Parsed:
    """One JSON value: `raw` is its text as sent, `violations` why it must not be used."""

    raw: bytes
    value: Any
    violations: tuple[Violation, ...]


class _Ambiguous(dict[str, Any]):
    """An object in which a key occurs twice; remembers which."""

    repeated: tuple[str, ...] = ()


def read_items(body: bytes, most: int | None = None) -> tuple[list[Parsed], bool]:
    """The items of a JSON array, or the one other value, each judged alone; and whether it was an
    array.

    HandoffError SCHEMA_INVALID when the body as a whole is no JSON, PAYLOAD_TOO_LARGE at the first
    item beyond `most`; DUPLICATE_KEY, nesting deeper than 32 and numbers out of range are
    violations of their item.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HandoffError(
            "SCHEMA_INVALID", f"the body is not UTF-8: byte {error.start} is wrong", path=""
        ) from error
    try:
        return _read(text, most)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise HandoffError("SCHEMA_INVALID", f"the body is not JSON: {error}", path="") from error


def _read(text: str, most: int | None) -> tuple[list[Parsed], bool]:
    suspects: list[str] = []

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) == len(pairs):
            return result
        ambiguous = _Ambiguous(result)
        times = Counter(name for name, _ in pairs)
        ambiguous.repeated = tuple(name for name in result if times[name] > 1)
        suspects.append("key")
        return ambiguous

    def to_float(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            suspects.append("number")
        return value

    decoder = json.JSONDecoder(
        object_pairs_hook=to_object, parse_float=to_float, parse_constant=_refuse_constant
    )

    def item_at(start: int) -> tuple[Parsed, int]:
        suspects.clear()
        value, end = decoder.raw_decode(text, start)
        raw = text[start:end]
        violations: list[Violation] = []
        # Counting is cheap; only a value with that many brackets can be too deep. One that is gets
        # no further look: the path to each of its leaves would be as long as it is deep.
        if raw.count("{") + raw.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            return Parsed(raw.encode("utf-8"), value, (_deep(),)), end
        if suspects:
            violations += _find(value)
        if "\\ud" in raw or "\\uD" in raw:
            violations += _find_half_pairs(raw)
        # The text came out of UTF-8, so it goes back into it.
        return Parsed(raw.encode("utf-8"), value, tuple(violations)), end

    at = _skip(text, 0)
    if not text.startswith("[", at):
        item, at = item_at(at)
        _require_end(text, at)
        return [item], False
    items: list[Parsed] = []
    at = _skip(text, at + 1)
    if text.startswith("]", at):
        _require_end(text, at + 1)
        return items, True
    while True:
        if most is not None and len(items) == most:
            raise HandoffError("PAYLOAD_TOO_LARGE", f"the batch holds more than {most} items")
        item, at = item_at(at)
        items.append(item)
        at = _skip(text, at)
        if text.startswith("]", at):
            _require_end(text, at + 1)
            return items, True
        if not text.startswith(",", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITESPACE:
        at += 1
    return at


def _require_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _too_deep() -> HandoffError:
    return HandoffError(
        "SCHEMA_INVALID", f"the JSON is nested deeper than {MAX_DEPTH} levels", path=""
    )


def _deep() -> Violation:
    return Violation("SCHEMA_INVALID", "", _too_deep().message)


def _find(value: Any) -> list[Violation]:
    """The places of repeated keys and infinite numbers; walked only when the parser met one."""
    found: list[Violation] = []

    def look(item: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(item, _Ambiguous):
            found.extend(
                Violation("DUPLICATE_KEY", pointer([*path, name]), f"the key {name!r} occurs twice")
                for name in item.repeated
            )
        elif isinstance(item, float) and not math.isfinite(item):
            found.append(
                Violation("FIELD_MISMATCH", pointer(path), "the number is beyond 64-bit range")
            )

    _walk(value, look)
    return found[:100]


def _find_half_pairs(raw: str) -> list[Violation]:
    """Half a surrogate pair is JSON by its grammar, but no text: neither UTF-8 nor a database can
    hold it.
    """
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return [Violation("SCHEMA_INVALID", "", f"a text holds half a surrogate pair: {error}")]
    return []


def _walk(value: Any, look: Callable[[Any, tuple[str | int, ...]], None]) -> None:
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while stack:
        item, path = stack.pop()
        look(item, path)
        if isinstance(item, dict):
            stack.extend((child, (*path, key)) for key, child in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((item[at], (*path, at)) for at in reversed(range(len(item))))


def _depth(value: Any) -> int:
    deepest = 0
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, (dict, list)):
            deepest = max(deepest, depth)
            children = item.values() if isinstance(item, dict) else item
            stack.extend((child, depth + 1) for child in children)
    return deepest
