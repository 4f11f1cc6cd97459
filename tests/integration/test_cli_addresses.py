"""`serve`, `sandbox` and `ui` on addresses they cannot have: said before anything is started or announced."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def taken() -> Iterator[str]:
    """A port another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("verb", "setting"),
    [
        ("serve", "HANDOFF_EDGE_PORT"),
        ("sandbox", "HANDOFF_SANDBOX_PORT"),
        ("ui", "HANDOFF_UI_PORT"),
    ],
)
def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(
    empty: Any, taken: str, verb: str, setting: str
) -> None:
    said = empty.start(verb, "--port", taken).wait(20)
    assert said.code == 4
    assert said.err.splitlines()[-2:] == [
        f"ADDRESS_UNAVAILABLE: cannot listen on 127.0.0.1:{taken}: Address already in use",
        f"  Stop the other program, or choose another port with --port or {setting}.",
    ]
    assert "export" not in said.out
    assert "edge on" not in said.err


def test_a_sandbox_on_a_port_that_is_taken_does_not_forget_what_the_other_one_holds(
    empty: Any, taken: str
) -> None:
    from ingestion.sandbox.app import state_file

    state = state_file(empty.settings)
    state.parent.mkdir(parents=True)
    state.write_bytes(b"another sandbox's")
    assert empty.handoff("sandbox", "--reset", "--port", taken).code == 4
    assert state.read_bytes() == b"another sandbox's"


@pytest.mark.parametrize("verb", ["serve", "sandbox", "ui"])
def test_a_port_that_cannot_be_is_wrong_usage(empty: Any, verb: str) -> None:
    said = empty.handoff(verb, "--port", "99999")
    assert said.code == 2
    assert "1<=x<=65535" in said.err
    setting = {"serve": "EDGE", "sandbox": "SANDBOX", "ui": "UI"}[verb]
    set_wrong = empty.handoff(verb, **{f"HANDOFF_{setting}_PORT": "99999"})
    assert set_wrong.code == 4
    assert set_wrong.err.startswith(f"SETTING_INVALID: HANDOFF_{setting}_PORT='99999'")


def test_the_edge_says_where_it_is_and_which_webhooks_it_will_refuse(empty: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    edge = empty.start(
        "serve", "--port", str(port), HANDOFF_WEBHOOK_SECRETS_WEB="whsec_" + "d" * 32
    )
    deadline = time.monotonic() + 20
    while "HANDOFF_WEBHOOK_SECRETS_" not in edge.said() and time.monotonic() < deadline:
        time.sleep(0.02)
    edge.send(signal.SIGTERM)
    said = edge.wait(20)
    assert said.code == 0
    assert f"edge on http://127.0.0.1:{port}" in said.err
    assert "HANDOFF_WEBHOOK_SECRETS_HUBSPOT" in said.err
    assert "HANDOFF_WEBHOOK_SECRETS_WEB" not in said.err
