"""What happened to the contracts from one state to the next, and whether it may be published; the rules stand in compatibility.py."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from ingestion.contracts.compatibility import (
    BUMPS,
    Bump,
    Change,
    accepts,
    compare,
    needed_bump,
    plain,
)
from ingestion.contracts.contract_sets import ContractSet
from ingestion.contracts.registry import FOLDER, parse_version
from ingestion.durable_file import write_atomically
from ingestion.errors.catalog import HandoffError

LOCK_FILE = FOLDER / "published.json"


@dataclass(frozen=True, slots=True)
class Release:
    """One contract or enumeration that differs: from `previous` to `version`, its changes, and why it is refused."""

    subject: str
    previous: str | None
    version: str | None
    changes: tuple[Change, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def needed(self) -> Bump | None:
        """The least bump its changes need."""
        return needed_bump(list(self.changes))

    @property
    def is_breaking(self) -> bool:
        """Whether anybody who relies on the previous one is hurt."""
        return self.needed == "major"

    def as_dict(self) -> dict[str, Any]:
        """The release as JSON values."""
        return {
            "subject": self.subject,
            "previous": self.previous,
            "version": self.version,
            "needs": self.needed,
            "changes": [change.as_dict() for change in self.changes],
            "refusals": list(self.refusals),
        }


def releases(old: ContractSet, new: ContractSet, today: date) -> list[Release]:
    """Everything that differs from `old` to `new`, with what speaks against publishing it.

    `today` decides which versions are past their sunset, and may go.
    """
    found: list[Release] = []
    for record in sorted({*old.documents, *new.documents}):
        ours = new.documents.get(record, {})
        for version in old.versions(record):
            if version not in ours:
                found += _removed(old, new, record, version, today)
            else:
                found += _edited(old, new, record, version)
        found += [
            release_of(new, record, version)
            for version in new.versions(record)
            if version not in old.documents.get(record, {})
        ]
    return found + _enumerations(old, new)


def release_of(contracts: ContractSet, record: str, version: str) -> Release:
    """A version beside the one before it; refused when its number promises more than its changes keep."""
    previous = contracts.before(record, version)
    if previous is None:
        return Release(record, None, version)
    old, new = contracts.resolved(record, previous), contracts.resolved(record, version)
    changes = _changes(record, old, new)
    given, needed = _bump(previous, version), needed_bump(changes)
    refusals: list[str] = []
    if needed is not None and BUMPS.index(needed) > BUMPS.index(given):
        worst = next(change for change in changes if change.bump == needed)
        refusals.append(
            f"{record} {previous} → {version} is a {given} version, and {worst.rule} at {worst.path or '/data'}"
            f" needs a {needed} one: {worst.words}"
        )
    has_upcast = (record, previous, version) in contracts.upcasts
    if record != "envelope" and needed == "major" and not has_upcast:
        refusals.append(
            f"{record} {previous} → {version} breaks, and nothing brings old events up to it:"
            f" add {record}/upcast_{previous}_{version}.yml"
        )
    return Release(record, previous, version, tuple(changes), tuple(refusals))


def check_published(contracts: ContractSet, today: date, lock: Path = LOCK_FILE) -> list[Release]:
    """The contracts against the lock file and each version against the one before it; needs no git."""
    published = _read_lock(lock)
    now = _locked(contracts)
    found: list[Release] = []
    for name, fingerprint in published["contracts"].items():
        record, version = name.split("/")
        if name not in now["contracts"]:
            found += _removed(contracts, contracts, record, version, today)
        elif now["contracts"][name] != fingerprint:
            words = (
                f"{name} was published and is edited in place; put it back and add a new version"
                " beside it (`handoff contracts diff main..` names what changed)"
            )
            found.append(Release(record, version, version, (), (words,)))
    for name in now["contracts"].keys() - published["contracts"].keys():
        record, version = name.split("/")
        words = f"{name} is not in {lock.name} yet: run `handoff contracts publish` and commit it"
        found.append(Release(record, contracts.before(record, version), version, (), (words,)))
    for name, values in published["enums"].items():
        listed = now["enums"].get(name, [])
        if lost := [value for value in values if value not in listed]:
            words = f"enumeration {name} no longer has {', '.join(map(repr, lost))}; keep them, contracts refer to it"
            found.append(Release(f"enums/{name}", None, None, (), (words,)))
        elif values != listed:
            words = f"enumeration {name} has values that {lock.name} has not: run `handoff contracts publish` and commit it"
            found.append(Release(f"enums/{name}", None, None, (), (words,)))
    for name in sorted(now["enums"].keys() - published["enums"].keys()):
        words = f"enumeration {name} is not in {lock.name} yet: run `handoff contracts publish` and commit it"
        found.append(Release(f"enums/{name}", None, None, (), (words,)))
    for record in sorted(contracts.documents):
        steps = [release_of(contracts, record, version) for version in contracts.versions(record)]
        found += [step for step in steps if step.refusals]
    return sorted(found, key=lambda release: (release.subject, release.version or ""))


def publish(contracts: ContractSet, today: date, lock: Path = LOCK_FILE) -> list[str]:
    """Add what is new to the lock file; HandoffError CONTRACT_BREAKING when anything else stands against it. Names what was added."""
    pending = [
        refusal
        for release in check_published(contracts, today, lock)
        for refusal in release.refusals
        if "run `handoff contracts publish`" not in refusal
    ]
    if pending:
        raise HandoffError("CONTRACT_BREAKING", "; ".join(pending))
    before, now = _read_lock(lock), _locked(contracts)
    write_atomically(lock, orjson.dumps(now, option=orjson.OPT_INDENT_2).decode() + "\n")
    added = sorted(now["contracts"].keys() - before["contracts"].keys())
    changed = [name for name in now["enums"] if now["enums"][name] != before["enums"].get(name)]
    return [*added, *(f"enums/{name}" for name in sorted(changed))]


def _changes(record: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    # The envelope has no columns of its own making, and its fields are the event's.
    return list(accepts(old, new)) if record == "envelope" else compare(old, new)


def _removed(
    old: ContractSet, new: ContractSet, record: str, version: str, today: date
) -> list[Release]:
    end = new.lifecycles.get((record, version)) or old.lifecycles.get((record, version))
    if end is not None and end.sunset_on <= today:
        return [Release(record, version, None)]
    until = f"before its sunset on {end.sunset_on}" if end else "without a sunset"
    words = (
        f"{record} {version} was published and is gone {until}; events of it are still on their way"
    )
    return [Release(record, version, None, (), (words,))]


def _edited(old: ContractSet, new: ContractSet, record: str, version: str) -> list[Release]:
    # Enumerations are judged on their own: a value that is added changes every contract that refers to it.
    enums = {**new.enums, **old.enums}
    before = old.resolved(record, version, enums)
    after = new.resolved(record, version, enums)
    if plain(before) == plain(after):
        return []
    changes = tuple(_changes(record, before, after))
    rules = ", ".join(dict.fromkeys(f"{change.rule} at {change.path}" for change in changes))
    words = (
        f"{record} {version} was published and is edited in place ({rules});"
        " put it back and add a new version beside it"
    )
    return [Release(record, version, version, changes, (words,))]


def _enumerations(old: ContractSet, new: ContractSet) -> list[Release]:
    found: list[Release] = []
    for name in sorted({*old.enums, *new.enums}):
        subject = f"enums/{name}"
        if name not in new.enums:
            words = f"enumeration {name} is gone; contracts that were published refer to it"
            found.append(Release(subject, None, None, (), (words,)))
            continue
        if name not in old.enums:
            found.append(Release(subject, None, None))
            continue
        was, now = ({"enum": _values(side.enums[name])} for side in (old, new))
        changes = [
            Change(change.rule, f"/enums/{name}", change.words.replace("the record", name))
            for change in accepts(was, now)
        ]
        before, after = (side.enums[name].get("systems", {}) for side in (old, new))
        if before != after:
            systems = [s for s in sorted({*before, *after}) if before.get(s) != after.get(s)]
            words = f"{name} maps the words of {', '.join(systems)} otherwise: what is polled may be decided otherwise"
            changes.append(Change("registry_changed", f"/enums/{name}", words))
        refusals = tuple(
            f"enumeration {name}: {change.words}; contracts that were published refer to it"
            for change in changes
            if change.is_breaking
        )
        if changes:
            found.append(Release(subject, None, None, tuple(changes), refusals))
    return found


def _bump(previous: str, version: str) -> Bump:
    old, new = parse_version(previous), parse_version(version)
    if old[0] != new[0]:
        return "major"
    return "minor" if old[1] != new[1] else "patch"


def _values(enum: Mapping[str, Any]) -> list[str]:
    return [option["const"] for option in enum["oneOf"]]


def _locked(contracts: ContractSet) -> dict[str, dict[str, Any]]:
    return {
        "contracts": {
            f"{record}/{version}": _fingerprint(contracts.documents[record][version])
            for record in sorted(contracts.documents)
            for version in contracts.versions(record)
        },
        "enums": {name: _values(contracts.enums[name]) for name in sorted(contracts.enums)},
    }


def _fingerprint(document: dict[str, Any]) -> str:
    """Equal for documents that take the same and land the same, whatever their words and layout."""
    canonical = orjson.dumps(plain(document), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def _read_lock(lock: Path) -> dict[str, dict[str, Any]]:
    if not lock.is_file():
        return {"contracts": {}, "enums": {}}
    try:
        found: dict[str, dict[str, Any]] = orjson.loads(lock.read_bytes())
        return {"contracts": found["contracts"], "enums": found["enums"]}
    except (ValueError, KeyError, TypeError) as error:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{lock} is no lock file: {error}") from error
