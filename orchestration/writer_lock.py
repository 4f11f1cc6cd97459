"""One writer at a time: a lock file beside the warehouse, so that a second writer hears who the first one is; and one worker at a time."""

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

WRITER_LOCK = "warehouse.lock"
# Held by whoever waits for the writer's lock, so that there is an order and not a race.
QUEUE_LOCK = "warehouse.queue"
WORKER_LOCK = "worker.lock"

# How long a run waits for another process's write before it gives up.
WRITER_WAIT_SECONDS = 900.0
_POLL_SECONDS = 0.02


@dataclass
class _Held:
    file: IO[str]
    depth: int


_held: dict[Path, _Held] = {}
_guard = threading.RLock()


@contextmanager
def warehouse_writer(settings: Settings, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the right to write the warehouse; re-entrant within a process.

    Waits up to `wait_seconds` for another process, then raises WAREHOUSE_LOCKED naming its pid. Whoever waits is next: a process that writes
    one batch after the other lets it go first. The kernel releases the lock when the holder dies, however it dies, so there is no stale
    lock to clean up.
    """
    path = settings.root / WRITER_LOCK
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


@contextmanager
def only_worker(settings: Settings) -> Iterator[None]:
    """Be the one process that takes batch after batch; raises WORKER_RUNNING naming the other's pid."""
    require_home(settings)
    with (settings.root / WORKER_LOCK).open("a+", encoding="ascii") as file:
        if not try_lock(file):
            raise HandoffError("WORKER_RUNNING", f"process {_holder(file)} is the worker")
        _sign(file)
        yield


def running_worker(settings: Settings) -> str | None:
    """Process id of the worker, None when there is none."""
    path = settings.root / WORKER_LOCK
    if not path.exists():
        return None
    with path.open("r+", encoding="ascii") as file:
        return None if try_lock(file) else _holder(file)


def somebody_waits(settings: Settings) -> bool:
    """Whether another process, or another user of this one, waits for the writer's lock."""
    with (settings.root / QUEUE_LOCK).open("a+", encoding="ascii") as queue:
        return not try_lock(queue)


def writer_patience(settings: Settings) -> float:
    """Seconds a command waits for the warehouse: none for another command, which may take minutes; a worker lets go after a batch."""
    return WRITER_WAIT_SECONDS if running_worker(settings) else 0.0


def _acquire(settings: Settings, path: Path, wait_seconds: float) -> IO[str]:
    require_home(settings)
    deadline = time.monotonic() + wait_seconds
    # Kept open: closing it releases the lock.
    file = path.open("a+", encoding="ascii")
    try:
        with (settings.root / QUEUE_LOCK).open("a+", encoding="ascii") as queue:
            while not (try_lock(queue) and try_lock(file)):
                if time.monotonic() >= deadline:
                    holder = _holder(file)
                    raise HandoffError(
                        "WAREHOUSE_LOCKED",
                        f"process {holder} is writing {settings.warehouse_path}",
                        remedy=f"Wait for process {holder} or stop it; `handoff query` reads without a lock.",
                    )
                time.sleep(_POLL_SECONDS)
    except BaseException:
        file.close()
        raise
    _sign(file)
    return file


def try_lock(file: IO[str]) -> bool:
    """Take the lock of an open file, or say that another process has it; one that is ours already stays ours."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"
