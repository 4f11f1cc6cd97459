"""Lets some rows of a batch fail as each vendor would tell it; the other rows reach the vendor's API.

Shapes: Salesforce "sObject Collections" (results in request order, allOrNone), HubSpot "batch" (207
with `errors` beside `results`), Marketo "Sync Leads" (200 with `status: skipped` and reasons).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

Json = Any


@dataclass(frozen=True, slots=True)
class Split:
    """A batch taken apart: `kept` is the body for the API (None: nothing is left of it), `join` puts
    its answer (status, content) and the failed rows together again."""

    kept: bytes | None
    failed: int
    join: Callable[[int, Json], tuple[int, Json]]


@dataclass(frozen=True, slots=True)
class _Shape:
    methods: tuple[str, ...]
    path: re.Pattern[str]
    rows_in: str
    error: str
    split: Callable[[_Shape, dict[str, Json], list[int], str], Split]


def is_batch(method: str, path: str) -> bool:
    """Whether requests of this kind carry rows that may fail one by one."""
    return _shape(method, path) is not None


def split_batch(method: str, path: str, body: bytes, every: int, error: str | None) -> Split | None:
    """Takes every `every`-th row out, or the last of a shorter batch, to fail with `error` (None: the
    vendor's usual one).

    None when the body is no batch with rows: the API then says what is wrong with it.
    """
    shape = _shape(method, path)
    if shape is None:
        return None
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    rows = content.get(shape.rows_in) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        return None
    failing = list(range(every - 1, len(rows), every)) or [len(rows) - 1]
    return shape.split(shape, content, failing, error or shape.error)


def _shape(method: str, path: str) -> _Shape | None:
    for shape in _SHAPES:
        if method in shape.methods and shape.path.search(path):
            return shape
    return None


def _without(content: dict[str, Json], rows_in: str, failing: list[int]) -> bytes | None:
    out = set(failing)
    rows = [row for place, row in enumerate(content[rows_in]) if place not in out]
    return orjson.dumps({**content, rows_in: rows}) if rows else None


def _salesforce(shape: _Shape, content: dict[str, Json], failing: list[int], error: str) -> Split:
    count = len(content[shape.rows_in])
    message = f"injected by the sandbox: {error}"

    def refused(code: str, text: str) -> dict[str, Json]:
        return {
            "success": False,
            "errors": [{"statusCode": code, "message": text, "fields": []}],
        }

    if content.get("allOrNone") is True:
        rolled_back = (
            "Record rolled back because not all records were valid and the request was using "
            "AllOrNone header"
        )
        answer = [
            refused(error, message)
            if place in failing
            else refused("ALL_OR_NONE_OPERATION_ROLLED_BACK", rolled_back)
            for place in range(count)
        ]
        return Split(None, len(failing), lambda status, told: (200, answer))

    def join(status: int, told: Json) -> tuple[int, Json]:
        if told is not None and not (status < 300 and isinstance(told, list)):
            return status, told
        written = iter(told or [])
        has_created = any("created" in row for row in told or [])
        extra: dict[str, Json] = {"created": False} if has_created else {}
        return 200, [
            {**refused(error, message), **extra} if place in failing else next(written)
            for place in range(count)
        ]

    return Split(_without(content, shape.rows_in, failing), len(failing), join)


def _hubspot(shape: _Shape, content: dict[str, Json], failing: list[int], error: str) -> Split:
    rows = content[shape.rows_in]
    errors = [
        {
            "status": "error",
            "category": error,
            "message": f"injected by the sandbox: {error}",
            "context": {
                "ids": [
                    str(rows[place].get("id") or rows[place].get("objectWriteTraceId") or place)
                ]
            },
        }
        for place in failing
        if isinstance(rows[place], dict)
    ]

    def join(status: int, told: Json) -> tuple[int, Json]:
        if told is None:
            told = {"status": "COMPLETE", "results": []}
        elif status >= 300 and status != 207:
            return status, told
        before = list(told.get("errors", []))
        both = [*before, *errors]
        return 207, {**told, "numErrors": len(both), "errors": both}

    return Split(_without(content, shape.rows_in, failing), len(failing), join)


def _marketo(shape: _Shape, content: dict[str, Json], failing: list[int], error: str) -> Split:
    count = len(content[shape.rows_in])
    skipped = {
        "status": "skipped",
        "reasons": [{"code": error, "message": f"injected by the sandbox: {error}"}],
    }

    def join(status: int, told: Json) -> tuple[int, Json]:
        if told is None:
            told = {"requestId": "injected", "success": True, "result": []}
        elif status >= 300 or not told.get("success"):
            return status, told
        written = iter(told["result"])
        return 200, {
            **told,
            "result": [skipped if place in failing else next(written) for place in range(count)],
        }

    return Split(_without(content, shape.rows_in, failing), len(failing), join)


_SHAPES = (
    _Shape(
        ("POST", "PATCH"),
        re.compile(r"/services/data/v[\d.]+/composite/sobjects(/\w+/\w+)?/?$"),
        "records",
        "UNABLE_TO_LOCK_ROW",
        _salesforce,
    ),
    _Shape(
        ("POST",),
        re.compile(r"^/hubspot/.+/batch/(create|read|update|upsert|archive)/?$"),
        "inputs",
        "VALIDATION_ERROR",
        _hubspot,
    ),
    _Shape(("POST",), re.compile(r"^/marketo/rest/v1/leads\.json$"), "input", "1007", _marketo),
)
