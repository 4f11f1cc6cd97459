"""The edge over HTTP, single events and batches, against an endpoint that only answers 202."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, peak_mb_of
from benchmarks.records import page_views
from benchmarks.servers import free_port, server

CONNECTIONS = 32
BATCH = 100
ROUNDS = 3


@dataclass(slots=True)
class _Load:
    """What one round of requests saw: seconds in all, seconds of each request, answers by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` requests of one event per round, and `size` / 20 requests of 100 events."""
    edge, bare = free_port(), free_port()
    with server("edge", edge, folder / "edge") as process, server("bare", bare, folder / "bare"):
        one = _case("one event a request", size, 1, edge, bare, process)
        many = _case("100 events a request", max(size // 20, 1), BATCH, edge, bare, process)
    return [one, many]


def _case(case: str, requests: int, batch: int, edge: int, bare: int, process: int) -> Measurement:
    ours: list[_Load] = []
    floor: list[_Load] = []
    for number in range(ROUNDS):
        bodies = list(_bodies(f"{case}-{number}", requests, batch))
        ours.append(asyncio.run(_send(edge, bodies, batch)))
        floor.append(asyncio.run(_send(bare, bodies, batch)))
    for load in (*ours, *floor):
        if load.statuses != {202: requests}:
            raise AssertionError(f"{case}: answers by status: {dict(load.statuses)}")
    latencies = sorted(seconds for load in ours for seconds in load.latencies)
    return compare(
        case,
        requests * batch,
        "events",
        [load.seconds for load in ours],
        [load.seconds for load in floor],
        peak_mb_of(process),
        p50=f"{1_000 * latencies[len(latencies) // 2]:.1f} ms",
        p99=f"{1_000 * latencies[int(len(latencies) * 0.99)]:.1f} ms",
    )


def _bodies(prefix: str, requests: int, batch: int) -> Iterator[bytes]:
    import orjson

    events = page_views(requests * batch, 1_000)
    for _ in range(requests):
        part: list[dict[str, Any]] = []
        for _ in range(batch):
            event = next(events)
            part.append({**event, "id": f"{prefix}-{event['id']}"})
        yield orjson.dumps(part[0] if batch == 1 else part)


async def _send(port: int, bodies: Sequence[bytes], batch: int) -> _Load:
    """Send all bodies over 32 kept connections, each waiting for its answer before the next."""
    kind = "application/cloudevents+json" if batch == 1 else "application/cloudevents-batch+json"
    load = _Load()
    waiting = iter(bodies)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            head = (
                f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            started = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            load.latencies.append(time.perf_counter() - started)
            load.statuses[int(answer.split(b" ", 2)[1])] += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    load.seconds = time.perf_counter() - started
    return load


KERNEL = Kernel(
    name="edge",
    measures="Events taken over HTTP by a process of its own: parsed strictly, checked against the"
    " contract and on disk before the 202; 32 connections.",
    floor="A bare Starlette endpoint on the same server and options that reads the same bodies and"
    " answers 202, driven by the same client.",
    size_unit="requests of one event",
    default_size=4_000,
    run=run,
)
