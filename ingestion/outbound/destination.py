"""What an outside system must offer to be written to; how is up to its connector."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from ingestion.outbound.plan import Operation


class Answer(StrEnum):
    """What the system said about one row."""

    WRITTEN = "written"
    REFUSED = "refused"
    TRY_AGAIN = "try_again"  # certainly not written; the same row may succeed in a moment
    UNKNOWN = "unknown"  # may or may not be written; look before sending it again


class FaultKind(StrEnum):
    """What is known after a whole request failed."""

    NOT_WRITTEN = "not_written"  # throttled, or the connection never stood: send again later
    UNKNOWN = "unknown"  # broke after it was sent: look before sending again
    REJECTED = "rejected"  # the request as such was refused: one of its rows may be the cause
    STOP = "stop"  # nothing more will succeed in this run: credentials, permissions, quota


class DestinationFault(Exception):
    """A request to an outside system failed as a whole; `code` is from the error catalog.

    `retry_after_seconds` is what the system asked for. `is_divisible` says whether smaller requests
    could pass.
    """

    def __init__(
        self,
        kind: FaultKind,
        code: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        is_divisible: bool = True,
    ) -> None:
        """Plain values; see the class."""
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.is_divisible = is_divisible


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What the system answered for one operation; `code` is from the error catalog when it is not
    written.
    """

    answer: Answer
    record_id: str | None = None
    created: bool | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that points to another record, whose Id is only known once that record exists."""

    field: str
    object: str
    external_id_field: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls used and allowed in the system's quota period, as it last reported."""

    used: int
    total: int


class Destination(Protocol):
    """An outside system that can be written to and read back."""

    @property
    def system(self) -> str:
        """Name of the system, as records carry it."""

    @property
    def batch_size(self) -> int:
        """Most rows one request may carry."""

    @property
    def references(self) -> Mapping[str, Reference]:
        """By object, the field that `depends_on_external_id` fills."""

    @property
    def usage(self) -> Usage | None:
        """Quota as last reported; None when the system does not say."""

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        """Writes operations of one object and action; one outcome each, in order. Raises
        DestinationFault.
        """

    def read(
        self, object_name: str, fields: Collection[str], by: str, keys: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        """The records whose field `by` is one of `keys`, by key; absent ones are left out.

        Each carries `fields` and "Id". Raises DestinationFault.
        """

    def check(self) -> list[str]:
        """What stands in the way of writing, in words with the remedy; empty when nothing does."""
