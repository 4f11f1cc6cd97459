"""How long each version of a contract is taken: deprecated from a day on, refused from a later one; asks no clock itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any

from ingestion.contracts import registry
from ingestion.contracts.registry import Contract, parse_version
from ingestion.errors.catalog import HandoffError

FILE = "lifecycle.yml"
_FIELDS = {"deprecated_on", "sunset_on", "successor", "migration"}


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The end of one version: both days begin at midnight UTC; `successor` is the version to send instead."""

    record: str
    version: str
    deprecated_on: date
    sunset_on: date
    successor: str
    migration: str

    @property
    def deprecated_at(self) -> datetime:
        """The instant from which senders are told."""
        return datetime.combine(self.deprecated_on, time(), UTC)

    @property
    def sunset_at(self) -> datetime:
        """The instant from which the version is refused."""
        return datetime.combine(self.sunset_on, time(), UTC)

    def as_dict(self) -> dict[str, str]:
        """What a sender is told."""
        return {
            "contract": f"urn:handoff:contract:{self.record}:{self.version}",
            "deprecated_on": self.deprecated_on.isoformat(),
            "sunset_on": self.sunset_on.isoformat(),
            "successor": self.successor_name,
            "migration": self.migration,
        }

    @property
    def successor_name(self) -> str:
        """What to send as dataschema instead."""
        return f"urn:handoff:contract:{self.record}:{self.successor}"

    def end(self) -> str:
        """Why it is refused, in words a sender can act on."""
        return (
            f"{self.record} {self.version} ended on {self.sunset_on.isoformat()};"
            f" send {self.successor_name}, see {self.migration}"
        )


@cache
def lifecycles() -> Mapping[tuple[str, str], Lifecycle]:
    """Every version that has an end, by record and version; empty while none has."""
    file = registry.FOLDER / FILE
    return read_lifecycles(file.read_text(encoding="utf-8")) if file.is_file() else {}


def lifecycle_of(contract: Contract) -> Lifecycle | None:
    """The end of a version; None while it has none."""
    return lifecycles().get((contract.record, contract.version))


def read_lifecycles(text: str) -> dict[tuple[str, str], Lifecycle]:
    """The ends that `lifecycle.yml` names; CONTRACTS_UNREADABLE says which entry cannot be."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(text) or {}
    except YAMLError as error:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{FILE} is no YAML: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise HandoffError("CONTRACTS_UNREADABLE", f"{FILE}: expected record, version and its end")
    return {
        (record, str(version)): _lifecycle(record, str(version), entry)
        for record, ends in found.items()
        for version, entry in ends.items()
    }


def _lifecycle(record: str, version: str, entry: Any) -> Lifecycle:
    place = f"{FILE}: {record} {version}"
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place}: expected {', '.join(sorted(_FIELDS))}"
        )
    days = [entry["deprecated_on"], entry["sunset_on"]]
    if not all(isinstance(day, date) and not isinstance(day, datetime) for day in days):
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place}: both days must be YYYY-MM-DD")
    if days[0] >= days[1]:
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place}: sunset_on {days[1]} must come after deprecated_on {days[0]}"
        )  # fmt: skip
    successor = str(entry["successor"])
    try:
        is_later = parse_version(successor) > parse_version(version)
    except ValueError as error:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place}: {error}") from error
    if not is_later:
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place}: successor {successor} must be a later version"
        )
    return Lifecycle(record, version, days[0], days[1], successor, str(entry["migration"]))
