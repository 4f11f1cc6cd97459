"""Reads what senders deliver and writes canonical events: what every system's translation needs;
what a delivery means stands with the system.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from ingestion.contracts.instants import is_instant
from ingestion.errors.catalog import HandoffError

UTM_FIELDS = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
COUNTRY_CODE = re.compile(r"[A-Za-z]{2}", re.ASCII)
_SUBJECT_FIELDS = {"activity": "activity_id", "meeting": "meeting_id", "merge": "surviving_id"}


@dataclass(frozen=True, slots=True)
class Delivered:
    """One JSON object of a delivery and where in it we are: errors name the path from its top."""

    value: Mapping[str, Any]
    path: str = ""

    def error(self, name: str, message: str, code: str = "SCHEMA_INVALID") -> HandoffError:
        """What is wrong with the member `name`."""
        return HandoffError(code, message, path=f"{self.path}/{_escaped(name)}")

    def inside(self, name: str) -> Delivered:
        """The object at `name`; SCHEMA_INVALID when there is none."""
        found = self.value.get(name)
        if not isinstance(found, dict):
            raise self.error(name, f"required object {name!r} is missing")
        return Delivered(found, f"{self.path}/{_escaped(name)}")

    def inside_or_empty(self, name: str) -> Delivered:
        """The object at `name`, an empty one when it is absent or null."""
        return Delivered({}) if self.value.get(name) is None else self.inside(name)

    def objects(self, name: str) -> list[Delivered]:
        """The objects of the array at `name`; none when it is absent or null."""
        found = self.value.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self.error(name, f"{name!r} must be an array", "FIELD_MISMATCH")
        path = f"{self.path}/{_escaped(name)}"
        for at, item in enumerate(found):
            if not isinstance(item, dict):
                raise HandoffError("FIELD_MISMATCH", "expected an object", path=f"{path}/{at}")
        return [Delivered(item, f"{path}/{at}") for at, item in enumerate(found)]

    def text(self, name: str) -> str | None:
        """The text at `name` without blanks around it; None when absent, null or empty."""
        found = self.value.get(name)
        if found is None:
            return None
        if not isinstance(found, str):
            raise self.error(name, f"{name!r} must be text, not {found!r:.80}", "FIELD_MISMATCH")
        return found.strip() or None

    def required_text(self, name: str) -> str:
        """The text at `name`; SCHEMA_INVALID when there is none."""
        found = self.text(name)
        if found is None:
            raise self.error(name, f"required field {name!r} is missing")
        return found

    def identifier(self, name: str) -> str:
        """A text or whole number that names something; SCHEMA_INVALID when there is none."""
        found = self.value.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if isinstance(found, str) and found.strip():
            return found.strip()
        raise self.error(name, f"{name!r} must be an id, not {found!r:.80}")

    def instant(self, name: str) -> str:
        """An RFC 3339 instant as sent; SCHEMA_INVALID when there is none, FIELD_MISMATCH when it
        is something else.
        """
        found = self.required_text(name)
        if not is_instant(found):
            expected = "an RFC 3339 instant with a zone, for example 2026-04-01T08:30:00Z"
            raise self.error(
                name, f"{name!r} is {found!r:.80}; expected {expected}", "FIELD_MISMATCH"
            )
        return found

    def chosen(self, name: str, known: Iterable[str]) -> str:
        """One of `known`; SCHEMA_UNKNOWN lists them when it is another."""
        found = self.value.get(name)
        options = tuple(known)
        if not isinstance(found, str) or found not in options:
            message = f"unknown {name} {found!r:.200}; known: {', '.join(options)}"
            raise self.error(name, message, "SCHEMA_UNKNOWN")
        return found


def read_object(body: bytes) -> Delivered:
    """The JSON object that is the delivery; SCHEMA_INVALID when it is something else."""
    document = orjson.loads(body)
    if not isinstance(document, dict):
        raise HandoffError("SCHEMA_INVALID", "the delivery must be a JSON object", path="")
    return Delivered(document)


def digest_of(content: Any) -> str:
    """24 hex digits that are equal for equal JSON, however it was spelled."""
    try:
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise HandoffError(
            "SCHEMA_INVALID", f"the delivery is not JSON: {error}", path=""
        ) from error
    return hashlib.sha256(canonical).hexdigest()[:24]


def person_id(email: str) -> str:
    """The id of a person whose system knows an address only: one for every spelling of its case,
    and it tells no address.
    """
    return hashlib.sha256(email.lower().encode("utf-8", "replace")).hexdigest()[:32]


def names_of(full_name: str | None) -> dict[str, Any]:
    """Given and family name where there are two words; a longer name is not ours to cut up."""
    if full_name is None:
        return {}
    words = full_name.split()
    if len(words) == 2:
        return {"first_name": words[0], "last_name": words[1]}
    return {"custom": {"name": full_name}}


def utm_of(tracking: Delivered) -> dict[str, str]:
    """The campaign tags that are there."""
    found = {name: tracking.text(name) for name in UTM_FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def from_milliseconds(value: int) -> str:
    """RFC 3339 of milliseconds since 1970."""
    moment = datetime.fromtimestamp(value // 1_000, UTC).replace(microsecond=value % 1_000 * 1_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical_event(
    record: str, data: dict[str, Any], *, event_id: str, source: str, time: str, subject: str = ""
) -> dict[str, Any]:
    """A CloudEvent about `data`; `subject` is needed for records without an id of their own."""
    named = subject or data[_SUBJECT_FIELDS.get(record, "record_id")]
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"com.handoff.{record}",
        "subject": f"{record}/{data['system']}/{named}",
        "time": time,
        "data": data,
    }


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
