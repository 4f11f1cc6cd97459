"""The counts of deliveries: bounded whatever comes, and written now and then, never in the way."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingestion.edge import deliveries
from ingestion.edge.deliveries import DAY_MINUTES, KEPT_LAGS, Deliveries, lag_of

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_a_week_of_deliveries_takes_no_more_than_a_day_of_them(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "edge" / "deliveries.json"

    async def fill() -> Deliveries:
        counts = Deliveries(path, ["web"], clock)
        for minute in range(7 * DAY_MINUTES):
            clock.now = NOW + timedelta(minutes=minute)
            counts.record("web", "accepted", None, float(minute))
        # A clock that was wrong for a while leaves nothing behind either.
        clock.now = NOW + timedelta(days=4_000)
        counts.record("web", "refused", "SIGNATURE_INVALID")
        clock.now = NOW + timedelta(days=7)
        counts.record("web", "accepted")
        return counts

    counts = asyncio.run(fill())
    told = counts.health("web", 0)
    assert told["last_day"]["deliveries"] == 1
    counts.close()
    kept = orjson.loads(path.read_bytes())["systems"]["web"]
    assert len(kept["minutes"]) == 1
    assert len(kept["lags"]) == KEPT_LAGS


def test_counts_are_written_while_deliveries_come_and_not_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "WRITE_SECONDS", 0.05)
    written: list[str] = []
    real = deliveries.write_atomically

    def counting(path: Path, text: str) -> None:
        written.append(text)
        real(path, text)

    monkeypatch.setattr(deliveries, "write_atomically", counting)
    path = tmp_path / "deliveries.json"

    async def deliver() -> None:
        counts = Deliveries(path, ["web"], Clock())
        for _ in range(1_000):
            counts.record("web", "accepted")
        for _ in range(200):
            await asyncio.sleep(0.01)
            if written:
                break
        # Nothing more comes, so nothing more is written.
        await asyncio.sleep(0.2)

    asyncio.run(deliver())
    assert len(written) == 1
    (counts,) = orjson.loads(path.read_bytes())["systems"]["web"]["minutes"].values()
    assert counts == {"accepted": 1_000}


def test_what_the_disk_refused_is_written_when_it_takes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "WRITE_SECONDS", 0.02)
    path = tmp_path / "deliveries.json"
    attempts: list[int] = []
    real = deliveries.write_atomically

    def failing(target: Path, text: str) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError(28, os.strerror(28))
        real(target, text)

    monkeypatch.setattr(deliveries, "write_atomically", failing)

    async def deliver() -> None:
        counts = Deliveries(path, ["web"], Clock())
        counts.record("web", "accepted")
        for _ in range(300):
            await asyncio.sleep(0.01)
            if path.exists():
                return

    asyncio.run(deliver())
    assert len(attempts) == 3
    assert path.exists()


@pytest.mark.parametrize(
    ("signed", "occurred", "lag"),
    [
        (NOW - timedelta(seconds=3), [NOW - timedelta(days=1)], 3.0),
        (None, [NOW - timedelta(seconds=9), NOW - timedelta(seconds=5)], 5.0),
        (NOW + timedelta(seconds=2), [], -2.0),
        (None, [], None),
    ],
)
def test_lag_is_since_the_signature_or_else_the_newest_event(
    signed: Any, occurred: Any, lag: float | None
) -> None:
    assert lag_of(NOW, signed, occurred) == lag
