"""Whom an erasure has begun to erase, kept beside the log until nothing of them is found: a run that died is finished by the next."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from ingestion.durable_file import sync_to_disk, write_atomically
from ingestion.settings import Settings
from orchestration.erasure.person import Person

FOLDER = "erasures"


@dataclass(frozen=True, slots=True)
class Begun:
    """One erasure: `erasure_id` is that of its events in the log, `begun_at` what counts as before it."""

    erasure_id: str
    begun_at: datetime
    person: Person


_JSON = TypeAdapter(Begun)


def begin(settings: Settings, person: Person) -> Begun:
    """Note that `person` is being erased, durably, readable by the owner alone."""
    begun = Begun(str(uuid.uuid4()), datetime.now(UTC), person)
    folder = settings.log_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(_path(settings, begun), _JSON.dump_json(begun).decode())
    _path(settings, begun).chmod(0o600)
    return begun


def find(settings: Settings, who: str) -> Begun | None:
    """The erasure under way of the person with this address or person_id."""
    named = who.strip().lower()
    for path in sorted((settings.log_dir / FOLDER).glob("*.json")):
        begun = _JSON.validate_json(path.read_bytes())
        person = begun.person
        if named in {*person.addresses, *person.kept, *person.person_ids, person.person_id}:
            return begun
    return None


def end(settings: Settings, begun: Begun) -> None:
    """Forget it: nothing of the person was found."""
    _path(settings, begun).unlink(missing_ok=True)
    sync_to_disk(settings.log_dir / FOLDER)


def _path(settings: Settings, begun: Begun) -> Path:
    return settings.log_dir / FOLDER / f"{begun.erasure_id}.json"
