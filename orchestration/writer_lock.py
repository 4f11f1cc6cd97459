"""One writer at a time: a lock file beside the warehouse, so that a second writer hears who the first one is."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.settings import Settings

_POLL_SECONDS = 0.1


@dataclass
class _Held:
    file: IO[str]
    depth: int


_held: dict[Path, _Held] = {}
_guard = threading.RLock()


@contextmanager
def warehouse_writer(settings: Settings, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the right to write the warehouse; re-entrant within a process.

    Waits up to `wait_seconds` for another process, then raises WAREHOUSE_LOCKED naming its pid. The kernel releases the lock when the holder
    dies, however it dies, so there is no stale lock to clean up.
    """
    path = settings.root / "warehouse.lock"
    with _guard:
        held = _held.get(path)
        if held is None:
            held = _Held(_acquire(settings, path, wait_seconds), 0)
            _held[path] = held
        held.depth += 1
    try:
        yield
    finally:
        with _guard:
            held.depth -= 1
            if held.depth == 0:
                del _held[path]
                held.file.close()


def _acquire(settings: Settings, path: Path, wait_seconds: float) -> IO[str]:
    require_home(settings)
    deadline = time.monotonic() + wait_seconds
    # Kept open: closing it releases the lock.
    file = path.open("a+", encoding="ascii")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise HandoffError(
                    "WAREHOUSE_LOCKED",
                    f"process {holder} is writing {settings.warehouse_path}",
                    remedy=f"Wait for process {holder} or stop it; `handoff query` reads without a lock.",
                ) from None
            time.sleep(_POLL_SECONDS)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
