"""Sends prepared requests over kept connections, closed or open loop, and notes each answer; knows nothing of what it sends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What one round of requests saw: seconds in all, seconds of each request, answers by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> float:
        """Milliseconds within which `share` of the requests were answered."""
        ordered = sorted(self.latencies)
        return 1_000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def request(port: int, path: str, body: bytes, content_type: str, **headers: str) -> bytes:
    """One POST as it goes over the wire; an underscore in a header's name is a dash."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def closed_loop(port: int, requests: Sequence[bytes], callers: int) -> Load:
    """Every caller sends its next request when the one before is answered."""
    return asyncio.run(_closed(port, requests, callers))


def open_loop(port: int, requests: Sequence[bytes], rate: float, connections: int) -> Load:
    """`rate` requests a second whatever the answers take; a latency counts from when it was due.

    Source: "coordinated omission", Gil Tene: a caller that waits for a slow answer would not send,
    and so not measure, what others would have sent meanwhile.
    """
    return asyncio.run(_open(port, requests, rate, connections))


async def _closed(port: int, requests: Sequence[bytes], callers: int) -> Load:
    load = Load()
    waiting = iter(requests)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for sent in waiting:
            started = time.perf_counter()
            status = await _exchange(reader, writer, sent)
            load.latencies.append(time.perf_counter() - started)
            load.statuses[status] += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    load.seconds = time.perf_counter() - started
    return load


async def _open(port: int, requests: Sequence[bytes], rate: float, connections: int) -> Load:
    load = Load()
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (item := await due.get()) is not None:
            at, sent = item
            status = await _exchange(reader, writer, sent)
            load.latencies.append(time.perf_counter() - at)
            load.statuses[status] += 1
        writer.close()

    callers = [asyncio.create_task(caller()) for _ in range(connections)]
    started = time.perf_counter()
    for number, sent in enumerate(requests):
        at = started + number / rate
        if (pause := at - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        due.put_nowait((at, sent))
    for _ in callers:
        due.put_nowait(None)
    await asyncio.gather(*callers)
    load.seconds = time.perf_counter() - started
    return load


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> int:
    writer.write(sent)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(answer.split(b" ", 2)[1])
