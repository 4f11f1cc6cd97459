"""What the recorders of the three systems share while a world is being built: streams, ids, the
growing truth."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from ingestion.sandbox.cast import Cast, Person
from ingestion.sandbox.identifiers import salesforce_id
from ingestion.sandbox.spelling import phone_text
from ingestion.sandbox.vocabulary import Country

Record = dict[str, Any]

HISTORY_DAYS = 120


class Draft:
    """A world in the making; `draw` has one random stream per concern, so that a change to one does
    not reshuffle the others. `records` and `traits` collect the truth by person key."""

    def __init__(self, seed: int, anchor: datetime, cast: Cast) -> None:
        """Starts with nothing recorded of anybody."""
        self.anchor = anchor
        self.cast = cast
        self.draw = {
            name: Random(f"{seed}|{name}")
            for name in (
                "hubspot",
                "events",
                "salesforce",
                "calendar",
                "marketo",
                "bookings",
                "ad_spend",
                "salesforce_activity",
                "salesforce_campaigns",
            )
        }
        self.records: dict[str, list[tuple[str, str, str]]] = {}
        self.traits: dict[str, list[str]] = {}
        # The reps' user ids were given out with the cast.
        self._counters: dict[str, int] = {"User": len(cast.reps)}

    def moment(self, rng: Random, earliest: float, latest: float, country: Country) -> datetime:
        """An instant between `earliest` and `latest` days before the anchor, mostly in local office
        hours."""
        day = rng.uniform(latest, earliest)
        hour = rng.triangular(7.0, 21.0, 11.0) - country.utc_offset
        at = (self.anchor - timedelta(days=day)).replace(hour=0, minute=0, second=0)
        at += timedelta(
            seconds=int(hour * 3_600) + rng.randrange(60), milliseconds=rng.randrange(1_000)
        )
        first = self.anchor - timedelta(days=HISTORY_DAYS)
        newest = self.anchor - timedelta(minutes=5)
        if not first <= at <= newest:
            at = self.anchor - timedelta(days=day, milliseconds=rng.randrange(1_000))
        return min(max(at, first), newest)

    def is_typed_into_crm(self, person: Person) -> bool:
        """Some strangers behind shared mailboxes were typed into the CRM by hand."""
        return person.segment == "shared_mailbox" and int(person.key[-4:]) % 3 == 0

    def phone(self, person: Person, style: int) -> str | None:
        """The person's number in one of five spellings."""
        if person.phone is None:
            return None
        return phone_text(person.company.country, person.phone, style)

    def new_id(self, sobject: str) -> str:
        """The next Salesforce id of `sobject`."""
        self._counters[sobject] = self._counters.get(sobject, 0) + 1
        return salesforce_id(sobject, 7 + 3 * self._counters[sobject])
