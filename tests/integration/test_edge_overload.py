"""Ten times what the edge can hold: it refuses, says when to come back, and its memory stays where it was."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BODY_BYTES = 1_000_000
UNDER_WAY = 8_000_000
# Ten times the bodies that may be under way.
SENDERS = 80
# Everything but the bodies: parsing one takes several times its size, one after the other.
ROOM_MB = 150


@contextmanager
def edge(home: Path, under_way: int) -> Iterator[tuple[int, int]]:
    """Port and process id of an edge with room for so many bytes."""
    variables = {
        "HANDOFF_HOME": str(home),
        "HANDOFF_EDGE_MAX_BYTES": str(under_way),
        "HANDOFF_RATE_LIMITS": "events=100000000/minute",
        "HANDOFF_MAX_BODY_BYTES": str(2 * BODY_BYTES),
    }
    code = (
        "from ingestion.edge.server import serve; from ingestion.settings import Settings;"
        "serve(Settings(), '127.0.0.1', 0, announce=lambda url: print(url, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait(30)


def body(number: int) -> bytes:
    event = {
        "specversion": "1.0",
        "id": f"large-{number}",
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/large-{number}",
        "time": "2026-04-01T08:30:00Z",
        "data": {
            "record_id": f"large-{number}",
            "system": "web",
            "custom": {"text": "x" * BODY_BYTES},
        },
    }
    return json.dumps(event).encode()


async def all_at_once(port: int, senders: int) -> Counter[int]:
    """Every sender announces and sends its body but for the last byte; when all have, they end it."""
    statuses: Counter[int] = Counter()
    waiting = asyncio.Barrier(senders)

    async def send(number: int) -> None:
        content = body(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content[:-1])
        # Who is refused need not read what comes.
        answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        await asyncio.wait({answer}, timeout=2)
        async with waiting:
            writer.write(content[-1:])
        found = await answer
        statuses[int(found.split(b" ", 2)[1])] += 1
        if b" 503 " in found.partition(b"\r\n")[0]:
            assert b"retry-after:" in found.lower()
        writer.close()

    await asyncio.gather(*(send(number) for number in range(senders)))
    return statuses


def peak_mb(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1_000
    raise AssertionError("no VmHWM")


def growth(home: Path, under_way: int) -> tuple[float, Counter[int]]:
    """MB that an overload added to the edge's peak after a load it could hold, and the answers."""
    with edge(home, under_way) as (port, process):
        assert asyncio.run(all_at_once(port, 4)) == {202: 4}
        before = peak_mb(process)
        statuses = asyncio.run(all_at_once(port, SENDERS))
        grown = peak_mb(process) - before
        # Afterwards everything is as before.
        deadline = time.monotonic() + 20
        while asyncio.run(all_at_once(port, 1)) != {202: 1}:
            assert time.monotonic() < deadline
        return grown, statuses


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads VmHWM")
def test_memory_stays_flat_at_ten_times_the_load(tmp_path: Path) -> None:
    grown, statuses = growth(tmp_path / "bounded", UNDER_WAY)
    assert set(statuses) == {202, 503}
    assert grown < ROOM_MB / 3
    # The control: without the bound the same load is held, and seen.
    held, taken = growth(tmp_path / "unbounded", 100 * UNDER_WAY)
    assert taken == {202: SENDERS}
    assert held > grown + SENDERS * BODY_BYTES / 1e6 / 2
