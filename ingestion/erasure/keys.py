"""Salted hashes of whom the log was told to forget: so that what comes in later is known to be theirs, by nobody who has not the value at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from ingestion.erasure.named import IsErased, Kind
from ingestion.log.encoding import to_microseconds
from ingestion.log.interface import ErasedWhom

_SALT_BYTES = 32
# Nobody can use the value again for somebody else: whatever comes of it, whenever it happened, is of whom was erased.
_FOR_EVER: frozenset[Kind] = frozenset({"record"})
# Values repeat within a batch, and a log may hold any number of them.
_MOST_KNOWN = 100_000


@dataclass(frozen=True, slots=True)
class Key:
    """A value that stands for the person: `system` where it is an id within one, None otherwise; addresses in lower case."""

    kind: Kind
    value: str
    system: str | None = None


@dataclass(slots=True)
class ErasedKeys:
    """Asks of single values whether they stand for somebody erased.

    A record's id stands for them for ever: the system shows the record until it is deleted there too. An address, what is made of one, and
    a browser do for what happened before the erasure: who writes anew afterwards is somebody new.
    """

    whom: ErasedWhom
    _known: dict[Key, int | None] = field(default_factory=dict)
    _newest_us: int | None = None

    def is_erased(self, key: Key, at: datetime | None) -> bool:
        """Whether `key`, named by something that happened `at` (None: not known), is one of them."""
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self.whom.keys.get(hashed(self.whom.salt, key))
        erased_us = self._known[key]
        if erased_us is None:
            return False
        if key.kind in _FOR_EVER or at is None:
            return True
        return to_microseconds(at) < erased_us

    def is_after_all(self, at: datetime | None) -> bool:
        """Whether `at` is after every erasure: then nothing but ids counts."""
        if at is None:
            return False
        if self._newest_us is None:
            self._newest_us = max(self.whom.keys.values(), default=0)
        return to_microseconds(at) >= self._newest_us

    def asking(self, system: str | None, at: datetime | None) -> IsErased:
        """The question for one row of `system` that says something of the instant `at`."""

        def is_erased(kind: Kind, value: str) -> bool:
            return any(self.is_erased(key, at) for key in keys_of(kind, value, system))

        return is_erased


def keys_of(kind: Kind, value: str, system: str | None) -> tuple[Key, ...]:
    """The keys that a value in a row of `system` may be known by; a person's own word (system handoff) says system:id."""
    if kind == "address":
        return (Key(kind, value.strip().lower()),)
    if kind == "mailbox":
        address = value.strip().lower()
        return Key("address", address), Key(kind, address, system)
    if kind == "person":
        return (Key(kind, value),)
    if kind == "stated" or (system == "handoff" and ":" in value):
        whose, _, value = value.partition(":")
        return Key("record", value, whose), Key("made", value, whose)
    if kind == "record":
        return Key(kind, value, system), Key("made", value, system)
    return (Key(kind, value, system),)


def asking(keys: frozenset[Key], system: str | None) -> IsErased:
    """The question for one row of `system`, of known keys and whatever its time."""

    def is_erased(kind: Kind, value: str) -> bool:
        return not keys.isdisjoint(keys_of(kind, value, system))

    return is_erased


def ids_by_system(keys: Iterable[Key]) -> dict[str, list[str]]:
    """Ids of records by their system."""
    found: dict[str, list[str]] = {}
    for key in keys:
        if key.kind == "record" and key.system is not None:
            found.setdefault(key.system, []).append(key.value)
    return {system: sorted(ids) for system, ids in sorted(found.items())}


def whom(keys: Iterable[Key], erased_at: datetime, known: ErasedWhom | None) -> ErasedWhom:
    """What the log is to remember of `keys`; under the salt it has, or a new one."""
    salt = os.urandom(_SALT_BYTES) if known is None else known.salt
    erased_us = to_microseconds(erased_at)
    return ErasedWhom(salt, {hashed(salt, key): erased_us for key in keys})


def hashed(salt: bytes, key: Key) -> bytes:
    """16 bytes: BLAKE2b keyed with `salt`."""
    text = "\x1f".join((key.kind, key.system or "", key.value))
    return blake2b(text.encode(), key=salt, digest_size=16).digest()
