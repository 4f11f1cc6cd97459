"""Form submits over HTTP under steady traffic until each is a confirmed lead with its task: edge, worker and CRM as processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import Kernel, Measurement, peak_mb_of
from benchmarks.records import consent, contact, form_submit, page_view, world
from benchmarks.servers import free_port, server

RATE = 50.0
TRAFFIC_SECONDS = 60.0
# One in ten posts is somebody new, whose four events are a lead; the others look at a page.
NEW_EVERY = 10
SETTLE_SECONDS = 60.0
APPEND = 5_000
EDGE_PROBES = 200


def run(size: int, folder: Path) -> list[Measurement]:
    """A warehouse of `size` people with about ten events each, then a minute of traffic."""
    from ingestion.sandbox.credentials import environment
    from ingestion.settings import Settings

    home = folder / "home"
    sandbox_port, edge_port = free_port(), free_port()
    variables = {
        **os.environ,
        "HANDOFF_HOME": str(home),
        **environment(f"http://127.0.0.1:{sandbox_port}", 7),
    }
    settings = Settings(home=home)
    _fill(settings, size)
    with (
        server("sandbox", sandbox_port, folder / "sandbox"),
        _worker(variables, folder / "worker.log") as worker,
        server("edge", edge_port, home),
        httpx.Client(base_url=f"http://127.0.0.1:{edge_port}", timeout=30) as http,
    ):
        floor = _acknowledgement(http)
        started = datetime.now(UTC)
        submitted = _send(http, size)
        figures = _settled(settings, variables, started, submitted)
        peak = peak_mb_of(worker.pid)
    lead, task = figures["form submit → confirmed lead"], figures["form submit → confirmed task"]
    return [
        Measurement(
            f"{RATE:.0f} events/s into {size:,} people",
            1,
            "lead",
            lead["p50"],
            floor,
            lead["p50"] / floor,
            peak,
            {
                "leads": f"{lead['count']:,} of {submitted:,}",
                "p50": f"{lead['p50']:.1f} s",
                "p95": f"{lead['p95']:.1f} s",
                "p99": f"{lead['p99']:.1f} s",
                "task p95": f"{task['p95']:.1f} s",
                **{
                    f"{stage} p50": f"{figures[stage]['p50']:.1f} s"
                    for stage in ("accepted → landed", "landed → decided and planned")
                },
            },
        )
    ]


def _fill(settings: Any, size: int) -> None:
    from ingestion.log.owner import open_log

    # The company's own reps come from the CRM; and nobody of the history agreed to be written there, or the guard would refuse them all.
    history = (event for event in world(size) if not event["type"].endswith((".rep", ".consent")))
    with contextlib.closing(open_log(settings)) as log:
        batch: list[dict[str, Any]] = []
        for event in history:
            batch.append(event)
            if len(batch) == APPEND:
                log.append(batch)
                batch = []
        if batch:
            log.append(batch)


@contextlib.contextmanager
def _worker(variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, once its first batch has brought everything up to date."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli.app", "work", "--json"],
            env=variables,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        while b'"run_micro_batch"' not in log.read_bytes():
            if process.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-1_000:])
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        process.wait()


def _acknowledgement(http: httpx.Client) -> float:
    """Median seconds until one event is on disk: no lead can be confirmed before its submit was."""
    taken = []
    for number in range(EDGE_PROBES):
        event = page_view(-1 - number, 0, datetime.now(UTC))
        started = time.perf_counter()
        _post(http, [event])
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def _send(http: httpx.Client, size: int) -> int:
    """Traffic in its own time, whatever the answers take; answers how many submits were sent."""
    begun, sent, submits = time.monotonic(), 0, 0
    first = int(time.time() * 1000)
    while (now := time.monotonic()) - begun < TRAFFIC_SECONDS:
        due = begun + sent / RATE
        if due > now:
            time.sleep(due - now)
        at, number = datetime.now(UTC), first + sent
        events = [page_view(number, sent % size, at)]
        if sent % NEW_EVERY == 0:
            submits += 1
            events = [
                contact(number, at, job_title="VP Marketing", country="DE"),
                consent(number, at),
                form_submit(number, number, "demo_request", at),
                form_submit(number + 1, number, "contact_sales", at),
            ]
        _post(http, events)
        sent += len(events)
    return submits


def _post(http: httpx.Client, events: list[dict[str, Any]]) -> None:
    response = http.post(
        "/v1/events",
        json=events,
        headers={"content-type": "application/cloudevents-batch+json"},
    )
    if response.status_code != 202:
        raise RuntimeError(f"{response.status_code}: {response.text[:300]}")


def _settled(
    settings: Any, variables: dict[str, str], started: datetime, submitted: int
) -> dict[str, dict[str, Any]]:
    """The percentiles of the mart once every lead that was planned is confirmed and published."""
    from orchestration.overview import latency

    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        subprocess.run(
            [sys.executable, "-m", "orchestration.cli.app", "run", "--json"],
            env=variables,
            check=True,
            capture_output=True,
        )
        figures = {row["stage"]: row for row in latency(settings, since=started)}
        whole = figures.get("form submit → confirmed lead", {"count": 0})
        if whole["count"] == submitted:
            return figures
        if time.monotonic() > deadline:
            raise AssertionError(f"{whole['count']} of {submitted} submits became leads")


KERNEL = Kernel(
    name="hot_path",
    measures="Seconds from a form submit, received at the edge, to the lead with owner read back"
    " from the CRM, while other events come in; edge, worker, CRM and sender share the machine.",
    floor="The edge's answer to one event: on disk, and nothing decided.",
    size_unit="people",
    default_size=5_000,
    run=run,
)
