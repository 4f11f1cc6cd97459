"""Which database bookings are in: a SQLite file of the home, or PostgreSQL where the settings name one."""

from __future__ import annotations

from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.scheduling.store import BookingStore
from ingestion.settings import Settings


def open_store(settings: Settings) -> BookingStore:
    """The store of bookings; BOOKINGS_UNAVAILABLE when it cannot be used, SETTING_INVALID for an
    address of another kind."""
    address = settings.scheduling_database
    if address is None:
        from ingestion.scheduling.sqlite import open_sqlite

        require_home(settings)
        return open_sqlite(settings.bookings_path)
    text = address.get_secret_value()
    if not text.startswith(("postgresql://", "postgres://")):
        raise HandoffError(
            "SETTING_INVALID",
            f"HANDOFF_SCHEDULING_DATABASE begins with {text.partition(':')[0]!r:.40}; expected postgresql://user@host/database",
            remedy="Name a PostgreSQL database, or leave it out: then bookings are in a file of HANDOFF_HOME.",
        )
    from ingestion.scheduling.postgres import open_postgres

    return open_postgres(text)
