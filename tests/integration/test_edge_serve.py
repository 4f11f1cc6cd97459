"""`serve` as a process: it announces itself, logs JSON lines, and stops without losing anything."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.edge.server import serve
from ingestion.errors.catalog import HandoffError
from ingestion.log.owner import OwnerLog, open_log, open_reader
from ingestion.settings import Settings

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from ingestion.edge.server import serve
from ingestion.settings import Settings
serve(Settings(home=sys.argv[1]), host="127.0.0.1", port=0)
"""


def event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": "contact/web/1",
        "time": "2026-04-01T08:30:00Z",
        "data": {"record_id": "1", "system": "web", "custom": {"number": number}},
    }


def test_stopping_keeps_all_that_was_acknowledged_and_gives_the_log_up(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    lines: list[str] = []
    try:
        assert process.stderr is not None
        lines.append(process.stderr.readline())
        url = json.loads(lines[0])["url"]
        acknowledged: list[int] = []
        stop = threading.Event()
        drain = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        drain.start()

        def send() -> None:
            with httpx.Client(base_url=url, timeout=20) as client:
                number = 0
                while not stop.is_set():
                    try:
                        answer = client.post("/v1/events", json=event(number))
                    except httpx.TransportError:
                        return
                    if answer.status_code == 202:
                        acknowledged.append(number)
                    number += 1

        sender = threading.Thread(target=send)
        sender.start()
        deadline = time.monotonic() + 20
        while len(acknowledged) < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        stop.set()
        sender.join(20)
        drain.join(10)
    finally:
        process.kill()
        process.wait(10)
    reader = open_reader(Settings(home=tmp_path))
    kept = [entry.event["data"]["custom"]["number"] for entry in reader.read(limit=100_000)]
    reader.close()
    assert len(acknowledged) >= 30
    assert set(acknowledged) <= set(kept)
    assert kept == sorted(kept)
    log = open_log(Settings(home=tmp_path))
    assert isinstance(log, OwnerLog)
    log.close()
    records = [json.loads(line) for line in lines]
    requests = [record for record in records if record["event"] == "request"]
    assert len(requests) >= 30
    assert all(len(record["correlation_id"]) == 32 for record in requests)
    assert records[-1]["event"] == "stopped"


def test_a_port_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    import structlog

    switch = sys.getswitchinterval()
    handlers = logging.getLogger().handlers[:]
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(HandoffError, match=f"127.0.0.1:{port}") as raised:
                serve(Settings(home=tmp_path), host="127.0.0.1", port=port)
        assert raised.value.code == "ADDRESS_UNAVAILABLE"
    finally:
        sys.setswitchinterval(switch)
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = handlers
