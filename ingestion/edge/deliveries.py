"""What has become of the deliveries of each system lately; answers GET /webhooks/{system}/health.

Memory and file are bounded whatever comes in: a count a minute for a day, and the newest lags.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from ingestion.durable_file import write_atomically

Verdict = Literal["accepted", "partial", "refused"]
VERDICTS: tuple[Verdict, ...] = ("accepted", "partial", "refused")
DAY_MINUTES = 24 * 60
KEPT_LAGS = 1_024
WRITE_SECONDS = 5.0
VERSION = 1

logger = structlog.get_logger("handoff.edge")


@dataclass(slots=True)
class _History:
    """One system's deliveries: `minutes` counts verdicts by minute since 1970, `codes` the refusals
    of the day by code, `lags` seconds by minute.
    """

    last: dict[Verdict, dict[str, Any]] = field(default_factory=dict)
    minutes: dict[int, Counter[str]] = field(default_factory=dict)
    lags: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=KEPT_LAGS))


class Deliveries:
    """Counts deliveries and keeps the counts in a file, written at most every five seconds.

    A crash loses the counts of the last seconds; the events themselves are in the log.
    """

    def __init__(self, path: Path, systems: Iterable[str], clock: Callable[[], datetime]) -> None:
        """Go on from what `path` holds; a file that cannot be read starts anew."""
        self._path = path
        self._clock = clock
        self._histories = {system: _History() for system in systems}
        self._lock = threading.Lock()
        self._file_lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = False
        self._read()

    def record(
        self,
        system: str,
        verdict: Verdict,
        code: str | None = None,
        lag_seconds: float | None = None,
    ) -> None:
        """Note one delivery; `code` is the error it was answered with, or its first item's."""
        now = self._clock()
        minute = int(now.timestamp()) // 60
        history = self._histories[system]
        with self._lock:
            _forget(history, minute)
            counts = history.minutes.setdefault(minute, Counter())
            counts[verdict] += 1
            if code is not None:
                counts[code] += 1
            # The newest stands last, also of two in one instant.
            history.last.pop(verdict, None)
            history.last[verdict] = {"at": now.isoformat(), "code": code}
            if lag_seconds is not None:
                history.lags.append((minute, round(lag_seconds, 3)))
            self._changed = True
        self._write_soon()

    def health(self, system: str, quarantined: int) -> dict[str, Any]:
        """What an operator asks of one system's webhooks; rates and lags are null where nothing
        came.
        """
        now = self._clock()
        minute = int(now.timestamp()) // 60
        history = self._histories[system]
        with self._lock:
            _forget(history, minute)
            lags = sorted(lag for at, lag in history.lags if minute - at < 60)
            newest = next(reversed(history.last.items()), None)
            return {
                "system": system,
                "last_delivery": None if newest is None else _told(*newest),
                "last_accepted_at": history.last.get("accepted", {}).get("at"),
                "last_hour": _summary(history, minute, 60),
                "last_day": _summary(history, minute, DAY_MINUTES),
                "lag_seconds": {
                    "samples": len(lags),
                    "p50": lags[ceil(len(lags) / 2) - 1] if lags else None,
                    "max": lags[-1] if lags else None,
                },
                "quarantined": quarantined,
                "as_of": now.isoformat(),
            }

    def close(self) -> None:
        """Write what is not written yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._write()

    # -- the file ----------------------------------------------------------------------------

    def _write_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WRITE_SECONDS, self._write_beside, loop)

    def _write_beside(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a thread of its own: a disk that is slow must not hold up an answer."""
        loop.run_in_executor(None, self._write).add_done_callback(lambda _: self._rest())

    def _rest(self) -> None:
        self._timer = None
        # Deliveries that came while the disk was busy; or the disk refused.
        if self._changed:
            self._write_soon()

    def _write(self) -> None:
        with self._file_lock:
            self._write_alone()

    def _write_alone(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            text = orjson.dumps(
                {
                    "version": VERSION,
                    "systems": {
                        system: {
                            "last": history.last,
                            "minutes": {
                                str(at): dict(counts) for at, counts in history.minutes.items()
                            },
                            "lags": list(history.lags),
                        }
                        for system, history in self._histories.items()
                    },
                }
            ).decode()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path, text)
        except OSError as error:
            # Counts are no events: a full disk must not refuse a delivery for their sake.
            self._changed = True
            if structlog.is_configured():
                logger.warning("counts of deliveries not written", error=str(error))

    def _read(self) -> None:
        try:
            kept = orjson.loads(self._path.read_bytes())
            if kept["version"] != VERSION:
                return
            for system, row in kept["systems"].items():
                if system not in self._histories:
                    continue
                self._histories[system] = _History(
                    {name: last for name, last in row["last"].items() if name in VERDICTS},
                    {int(at): Counter(counts) for at, counts in row["minutes"].items()},
                    deque(((int(at), float(lag)) for at, lag in row["lags"]), maxlen=KEPT_LAGS),
                )
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if structlog.is_configured():
                logger.warning("counts of deliveries start anew", error=str(error))


def lag_of(now: datetime, signed_at: datetime | None, occurred: Iterable[datetime]) -> float | None:
    """Seconds from the signature to us; without one, from the newest event of the delivery."""
    since = signed_at or max(occurred, default=None)
    return None if since is None else (now - since) / timedelta(seconds=1)


def _forget(history: _History, minute: int) -> None:
    """Drop what is a day away; also what a clock that was wrong for a while dated ahead."""
    if minute not in history.minutes:
        kept = {at: of for at, of in history.minutes.items() if abs(minute - at) < DAY_MINUTES}
        history.minutes = kept


def _told(verdict: Verdict, row: dict[str, Any]) -> dict[str, Any]:
    return {"at": row["at"], "outcome": verdict, "code": row["code"]}


def _summary(history: _History, minute: int, minutes: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for at, of_minute in history.minutes.items():
        if 0 <= minute - at < minutes:
            counts += of_minute
    total = sum(counts[verdict] for verdict in VERDICTS)
    return {
        "deliveries": total,
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "success_rate": counts["accepted"] / total if total else None,
        "codes": {code: count for code, count in sorted(counts.items()) if code not in VERDICTS},
    }
