"""The whole flow on the simulated company, timed: starts the sandbox and the edge, runs batches, sends live traffic; prints nothing itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
    latency: list[dict[str, Any]]
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
            from orchestration.micro_batch import run_hot_path, run_micro_batches
            from orchestration.progress import listening
        with listening(say):
            with step("history: poll MAP, CRM and calendar, decide, push"):
                run_micro_batches(demo_settings)
            with step("live: signed form submits through the webhook"):
                world = _world(home, seed)
                sent_at = datetime.now(UTC)
                _send_live_traffic(demo_settings, world)
            with step("hot path: from the form submit to the confirmed lead"):
                run_hot_path(demo_settings)
            with step("micro-batch: receipts, marts, the serving file"):
                run_micro_batches(demo_settings)
    return _result(demo_settings, home, seed, started, timings, sent_at)


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


def _result(
    settings: Settings,
    home: Path,
    seed: int,
    started: float,
    timings: list[tuple[str, float]],
    sent_at: datetime,
) -> DemoResult:
    from orchestration.overview import (
        funnel,
        held_back,
        kpis,
        latency,
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
        latency=latency(settings, since=sent_at),
        mqls=newest_mqls(settings, 5),
        kpis=kpis(settings),
        quarantine=quarantined(settings),
        held_back=held_back(settings),
        pushes=push_outcomes(settings),
    )
