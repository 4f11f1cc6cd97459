"""Keeps the warehouse open, and the right to write it, from one batch to the next, until somebody else wants it.

Opening reads what the last batch had in memory, and closing writes a checkpoint: every index that a batch put keys into, almost whole
(docs/decisions/0013).
"""

from __future__ import annotations

import contextlib
import time

from ingestion.landing.warehouse import connect, write_ahead_log
from ingestion.settings import Settings
from orchestration.writer_lock import WRITER_WAIT_SECONDS, somebody_waits, warehouse_writer

# DuckDB writes a checkpoint of its own, in the middle of a batch, once its log is so long: whoever opens the file after a crash
# reads all of it first.
CHECKPOINT_AT = "128MB"
# Without news for so long, it is written while nobody waits.
QUIET_SECONDS = 2.0


class WarmWarehouse:
    """The warehouse of one process that writes batch after batch; usable again after it was let go."""

    def __init__(self, settings: Settings) -> None:
        """Take nothing yet."""
        self._settings = settings
        self._held: contextlib.ExitStack | None = None
        self._quiet_since: float | None = None
        self._is_written_down = True

    def take(self) -> None:
        """Hold lock and file, after whoever has been waiting for them; raises WAREHOUSE_LOCKED when that takes too long."""
        if self._held is not None and somebody_waits(self._settings):
            self.let_go()
        if self._held is None:
            with contextlib.ExitStack() as held:
                held.enter_context(
                    warehouse_writer(self._settings, wait_seconds=WRITER_WAIT_SECONDS)
                )
                connection = held.enter_context(contextlib.closing(connect(self._settings)))
                connection.execute(f"set checkpoint_threshold = '{CHECKPOINT_AT}'")
                self._held = held.pop_all()
        self._quiet_since = None
        self._is_written_down = False

    def rest(self) -> None:
        """To be called again and again between batches: lets go when somebody waits, and writes a checkpoint when it is quiet."""
        if self._held is None:
            return
        if somebody_waits(self._settings):
            self.let_go()
            return
        # From the end of the batch: one may take longer than the quiet has to last.
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()
        if not self._is_written_down and time.monotonic() - self._quiet_since >= QUIET_SECONDS:
            self._is_written_down = True
            if write_ahead_log(self._settings).exists():
                with contextlib.closing(connect(self._settings)) as connection:
                    connection.execute("checkpoint")

    def let_go(self) -> None:
        """Close the file, which writes a checkpoint, and give the lock up; nothing when nothing is held."""
        if self._held is not None:
            held, self._held = self._held, None
            held.close()
