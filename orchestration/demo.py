"""The whole flow on the simulated company, timed: starts the sandbox and the edge, runs batches, sends live traffic; prints nothing itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.settings import Settings

LIVE_SUBMITS = 3
_START_SECONDS = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the screen shows: rows straight from the serving file, and seconds measured around each step."""

    home: str
    seed: int
    seconds: float
    timings: list[tuple[str, float]]
    funnel: list[tuple[str, int]]
    latency: list[tuple[str, float]]
    mqls: list[dict[str, Any]]
    kpis: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    held_back: list[dict[str, Any]]
    pushes: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def run_demo(settings: Settings, *, seed: int, fresh: bool, say: Say) -> DemoResult:
    """Run it all under `<HANDOFF_HOME>/demo`; `fresh` forgets the last demo first."""
    started = time.monotonic()
    home = require_home(settings) / "demo"
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    timings: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        say(name)
        begun = time.monotonic()
        yield
        timings.append((name, time.monotonic() - begun))

    with contextlib.ExitStack() as stack:
        with step("starting the simulated company and the edge"):
            demo_settings = stack.enter_context(_servers(home, seed))
            # Imported while the servers start: both take seconds, on two cores.
            from orchestration.micro_batch import run_micro_batches
            from orchestration.progress import listening
        with listening(say):
            with step("history: poll MAP, CRM and calendar, decide, push"):
                run_micro_batches(demo_settings)
            with step("live: signed form submits through the webhook"):
                world = _world(home, seed)
                sent_at = datetime.now(UTC)
                _send_live_traffic(demo_settings, world)
            with step("micro-batch: from the form submit to the confirmed lead"):
                live = run_micro_batches(demo_settings)
            with step("Data Docs"):
                _build_pages(demo_settings)
    latency = _latency(demo_settings, sent_at, live.batches[0].steps)
    return _result(demo_settings, home, seed, started, timings, latency)


@contextlib.contextmanager
def _servers(home: Path, seed: int) -> Iterator[Settings]:
    """The sandbox and the edge as processes of their own, on free ports, for as long as the context is open."""
    from ingestion.sandbox.credentials import environment

    sandbox_port, edge_port = _free_port(), _free_port()
    variables = {
        "HANDOFF_HOME": str(home),
        "HANDOFF_SANDBOX_SEED": str(seed),
        "HANDOFF_EDGE_PORT": str(edge_port),
        **environment(f"http://127.0.0.1:{sandbox_port}", seed),
    }
    os.environ.update(variables)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for verb, port in (("sandbox", sandbox_port), ("serve", edge_port)):
            with (home / f"{verb}.log").open("ab") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "orchestration.cli.app", verb, "--port", str(port)],
                        env={**os.environ},
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                    )
                )
        _wait_for(f"http://127.0.0.1:{sandbox_port}/truth", processes[0], home / "sandbox.log")
        _wait_for(f"http://127.0.0.1:{edge_port}/health/ready", processes[1], home / "serve.log")
        yield Settings()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2.0).status_code < 500:
                return
        time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""
    raise HandoffError(
        "UPSTREAM_UNAVAILABLE", f"{url} did not come up: {tail}", remedy=f"See {log}."
    )


def _world(home: Path, seed: int) -> Any:
    from ingestion.sandbox.app import state_file, stored_anchor
    from ingestion.sandbox.world import build_world

    settings = Settings(home=home)
    anchor = stored_anchor(state_file(settings), seed)
    if anchor is None:
        raise HandoffError("INTERNAL", "the sandbox kept no anchor")
    return build_world(seed, anchor)


def _send_live_traffic(settings: Settings, world: Any) -> None:
    """Form submits as a site sends them, and what goes wrong in real life: a wrong signature, a wrong enum, a field nobody knows."""
    import httpx

    from ingestion.sandbox.live import signed_form_submit

    [secret] = settings.webhook_secrets("web")
    base = f"http://127.0.0.1:{settings.edge_port}"
    now = datetime.now(UTC)
    with httpx.Client(base_url=base, timeout=10.0) as client:
        for index in range(LIVE_SUBMITS):
            headers, body = signed_form_submit(world, index, now, secret)
            client.post("/webhooks/web", content=body, headers=headers).raise_for_status()
            # Senders repeat themselves; it counts once.
            client.post("/webhooks/web", content=body, headers=headers).raise_for_status()
        headers, body = signed_form_submit(world, LIVE_SUBMITS, now, secret)
        client.post("/webhooks/web", content=body[:-1] + b" }", headers=headers)
        for number, data in enumerate(
            (
                {"activity_type": "form_submitted"},
                {"activity_type": "page_view", "utm_sauce": "newsletter"},
            )
        ):
            event = {
                "specversion": "1.0",
                "id": f"demo-{now.timestamp()}-{number}",
                "source": "https://www.example.com/site",
                "type": "com.handoff.activity",
                "subject": "activity/web/demo",
                "time": now.isoformat(),
                "data": {"activity_id": "demo", "system": "web", **data},
            }
            client.post("/v1/events", json=event)


def _build_pages(settings: Settings) -> None:
    from expectations.docs import build_data_docs
    from expectations.kept_results import kept_results

    build_data_docs(
        kept_results(settings.artifacts_dir / "expectations"), settings.artifacts_dir / "data_docs"
    )


def _latency(
    settings: Settings, sent_at: datetime, steps: dict[str, float]
) -> list[tuple[str, float]]:
    """Median seconds of each stage of form → CRM over the live submits, from the receipts, and the batch's own steps."""
    rows = _ask(
        settings,
        """
        select
            epoch_us(max(activities.loaded_at)) / 1e6 as loaded, epoch_us(max(activities.received_at)) / 1e6 as received,
            epoch_us(max(pushes.planned_at)) / 1e6 as planned, epoch_us(max(pushes.sent_at)) / 1e6 as sent,
            epoch_us(min(pushes.confirmed_at)) / 1e6 as confirmed
        from marts.fct_pushes as pushes
        join marts.fct_activities as activities using (person_id)
        where pushes.object = 'Lead' and pushes.is_confirmed and activities.system = 'web'
            and pushes.planned_at >= $sent_at::timestamptz and activities.received_at >= $sent_at::timestamptz
        group by pushes.person_id
        """,
        {"sent_at": sent_at},
    )
    if not rows:
        return []

    def median(values: Sequence[float]) -> float:
        return sorted(values)[len(values) // 2]

    stages = [
        ("accepted → landed", "received", "loaded"),
        ("landed → decided and planned", "loaded", "planned"),
        ("planned → sent", "planned", "sent"),
        ("sent → confirmed in the CRM", "sent", "confirmed"),
        ("form submit → confirmed lead", "received", "confirmed"),
    ]
    return [
        (name, median([row[end] - row[begin] for row in rows])) for name, begin, end in stages
    ] + [
        (f"  of which {name}", seconds)
        for name, seconds in sorted(steps.items(), key=lambda item: -item[1])[:1]
    ]


def _ask(
    settings: Settings, sql: str, values: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    from orchestration.serving import open_serving

    with contextlib.closing(open_serving(settings)) as connection:
        cursor = connection.execute(sql, values or {})
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _result(
    settings: Settings,
    home: Path,
    seed: int,
    started: float,
    timings: list[tuple[str, float]],
    latency: list[tuple[str, float]],
) -> DemoResult:
    from orchestration.overview import (
        funnel,
        held_back,
        kpis,
        newest_mqls,
        push_outcomes,
        quarantined,
    )

    return DemoResult(
        home=str(home),
        seed=seed,
        seconds=time.monotonic() - started,
        timings=timings,
        funnel=funnel(settings),
        latency=latency,
        mqls=newest_mqls(settings, 5),
        kpis=kpis(settings),
        quarantine=quarantined(settings),
        held_back=held_back(settings),
        pushes=push_outcomes(settings),
    )
