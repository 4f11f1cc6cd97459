"""Who the reps are at an instant, by what was known of them then; whom they get is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.routing.working_time import WORKDAYS, Absence


@dataclass(frozen=True, slots=True)
class Rep:
    """What a directory says of one rep. `capacity` is leads a day (None: no limit), `working_hours` HH:MM-HH:MM of `time_zone`,
    `working_days` ISO weekdays."""

    rep_id: str
    name: str
    email: str | None = None
    is_active: bool = True
    weight: float = 1.0
    territories: frozenset[str] = frozenset()
    product_lines: frozenset[str] = frozenset()
    capacity: int | None = None
    time_zone: str | None = None
    working_hours: str | None = None
    working_days: tuple[int, ...] = WORKDAYS


@dataclass(frozen=True, slots=True)
class RepChange:
    """What a rep is from an instant on, in microseconds since 1970 (ALWAYS: from the beginning)."""

    at: int
    rep: Rep


class Directory:
    """The reps as of the last change applied; `revision` counts the changes."""

    def __init__(self, absences: Mapping[str, Sequence[Absence]] | None = None) -> None:
        """Empty; `absences` by rep_id, each with when it was known."""
        self.reps: dict[str, Rep] = {}
        self.revision = 0
        self._absences = absences or {}
        self._by_email: dict[str, str] = {}

    def apply(self, changes: Iterable[RepChange]) -> None:
        """Take over what reps are from now on."""
        for change in changes:
            rep = change.rep
            self.reps[rep.rep_id] = rep
            if rep.email:
                self._by_email[rep.email.lower()] = rep.rep_id
            self.revision += 1

    def absences(self, rep_id: str) -> Sequence[Absence]:
        """When the rep is away, as it was known at any time."""
        return self._absences.get(rep_id, ())

    def of_email(self, email: str | None) -> Rep | None:
        """The active rep of an address."""
        rep = self.reps.get(self._by_email.get((email or "").lower(), ""))
        return rep if rep is not None and rep.is_active else None
