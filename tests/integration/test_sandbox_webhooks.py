"""Personas' webhooks against a real edge process: what is sent, broken, sent again, and counted once."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from pydantic import SecretStr

from ingestion.edge.app import create_app as edge_app
from ingestion.log.owner import open_log, open_reader
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import environment, webhook_secrets
from ingestion.sandbox.webhook_sender import Edge
from ingestion.sandbox.world import World, build_world
from ingestion.settings import Settings
from tests.serving import served

ROOT = Path(__file__).parents[2]
ANCHOR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
SEED = 7
SERVE = """
import sys
from ingestion.edge.server import serve
from ingestion.settings import Settings
serve(Settings(home=sys.argv[1]), host="127.0.0.1", port=0)
"""
SETTLED = ("delivered", "refused", "failed", "withheld")


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, ANCHOR, people=40)


@contextmanager
def sandbox_of(
    world: World, edge_url: str, state: Path | None = None, secrets_of: int = SEED
) -> Iterator[httpx.Client]:
    """A sandbox in a server of its own whose webhooks go to `edge_url`."""
    edge = Edge(edge_url, webhook_secrets(secrets_of))
    app = create_app(SEED, world.anchor, state, world=world, edge=edge)
    with served(app) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


@dataclass(frozen=True)
class Scene:
    """A sandbox, the edge process its webhooks go to, and the home of that edge's log."""

    sandbox: httpx.Client
    home: Path

    def act(self, persona: str, action: str, **options: Any) -> dict[str, Any]:
        answer = self.sandbox.post(
            f"/sandbox/personas/{persona}/act", json={"action": action, **options}
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def fault(self, **fault: Any) -> dict[str, Any]:
        answer = self.sandbox.post("/sandbox/faults", json=fault)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def settled(self, within: float = 20.0) -> list[dict[str, Any]]:
        """Every webhook, once none is waiting any more."""
        return settled(self.sandbox, within)

    def webhook(self, message_id: str) -> dict[str, Any]:
        return dict(self.sandbox.get(f"/sandbox/webhooks/{message_id}").json())

    def log(self) -> tuple[int, int]:
        """Events and quarantined items in the edge's log."""
        with contextlib.closing(open_reader(Settings(home=self.home))) as log:
            return log.last_seq(), log.last_quarantine_id()

    def answered(self) -> Counter[str]:
        """What the edge said of each item it was sent, over every attempt of every webhook."""
        told: Counter[str] = Counter()
        kept = set()
        for row in self.settled():
            for attempt in self.webhook(row["id"])["attempts"]:
                answer = json.loads(attempt["answer"] or "{}")
                told.update(result["status"] for result in answer.get("results", ()))
                kept |= {answer["quarantine_id"]} if "quarantine_id" in answer else set()
        # What was refused before in the very same words is not kept twice.
        return told + Counter(quarantined=len(kept))


def settled(sandbox: httpx.Client, within: float = 20.0) -> list[dict[str, Any]]:
    deadline = time.monotonic() + within
    while True:
        rows = sandbox.get("/sandbox/webhooks").json()["webhooks"]
        # One that is sent twice is delivered with the first of the two.
        if all(
            row["state"] in SETTLED
            and ("duplicate" not in row["faults"] or row["attempt_count"] > 1)
            for row in rows
        ):
            return list(rows)
        assert time.monotonic() < deadline, rows
        time.sleep(0.02)


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Iterator[Scene]:
    """The edge in a server of this process."""
    secrets = {
        f"webhook_secrets_{system}": SecretStr(value)
        for system, value in webhook_secrets(SEED).items()
    }
    settings = Settings(home=tmp_path, **secrets)
    with (
        contextlib.closing(open_log(settings)) as log,
        served(edge_app(settings, log)) as url,
        sandbox_of(world, url) as client,
    ):
        yield Scene(client, tmp_path)


@pytest.fixture
def process_scene(world: World, tmp_path: Path) -> Iterator[Scene]:
    """The edge as a process of its own, as `handoff serve` runs it."""
    variables = {
        name: value for name, value in environment("http://x", SEED).items() if "WEBHOOK" in name
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
    )
    assert process.stderr is not None
    url = json.loads(process.stderr.readline())["url"]
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    try:
        with sandbox_of(world, url) as client:
            yield Scene(client, tmp_path)
    finally:
        process.terminate()
        process.wait(20)


def code_of(webhook: dict[str, Any]) -> str:
    """The edge's error code in the answer to the last attempt."""
    return str(json.loads(webhook["attempts"][-1]["answer"])["code"])


def a_day(scene: Scene) -> list[dict[str, Any]]:
    """Everybody does something; the webhooks that came of it."""
    for form in ("newsletter", "demo_request", "contact_sales"):
        for persona in ("buyer", "competitor", "student", "shared_mailbox", "opted_out"):
            scene.act(persona, "submit_form", form=form)
    scene.act("buyer", "change_job", job_title="Chief Operating Officer")
    scene.act("opted_out", "give_consent")
    scene.act("buyer", "withdraw_consent")
    scene.act("duplicate", "merge")
    return scene.settled()


# ---- sending ----------------------------------------------------------------------------------


def test_a_personas_webhook_reaches_the_edge_signed_by_its_system(scene: Scene) -> None:
    submitted = scene.act("buyer", "submit_form", form="contact_sales")
    changed = scene.act("buyer", "change_job", job_title="Chief Operating Officer")
    rows = {row["id"]: row for row in scene.settled()}
    for done, system in ((submitted, "web"), (changed, "hubspot")):
        [message_id] = done["webhooks"]
        assert rows[message_id]["state"] == "delivered"
        assert (rows[message_id]["system"], rows[message_id]["status"]) == (system, 202)
    whole = scene.webhook(submitted["webhooks"][0])
    assert whole["body"]["data"]["email"] == "miriam.adler@solvante-demoworld.de"
    assert whole["attempts"][0]["headers"]["webhook-id"] == whole["id"]
    # A form is a contact, an activity and a consent; a property change is one event.
    assert scene.log() == (4, 0)


def test_an_edge_with_another_secret_refuses_and_the_sender_does_not_insist(
    world: World, scene: Scene
) -> None:
    url = str(scene.sandbox.get("/sandbox/world").json()["edge_url"])
    with sandbox_of(world, url, secrets_of=SEED + 1) as client:
        client.post("/sandbox/personas/buyer/act", json={"action": "submit_form"})
        [row] = settled(client)
        assert (row["state"], row["status"], row["attempt_count"]) == ("refused", 401, 1)
    assert scene.log() == (0, 0)


class Grumpy(http.server.BaseHTTPRequestHandler):
    """Answers what `answers` holds, one after the other, and 202 when it is empty."""

    answers: ClassVar[list[tuple[int, dict[str, str]]]] = []
    seen: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).seen.append({name.lower(): value for name, value in self.headers.items()})
        status, headers = type(self).answers.pop(0) if type(self).answers else (202, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def grumpy() -> Iterator[tuple[str, type[Grumpy]]]:
    Grumpy.answers, Grumpy.seen = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Grumpy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Grumpy
    server.shutdown()


def test_a_busy_receiver_is_tried_again_as_late_as_it_asks(
    world: World, grumpy: tuple[str, type[Grumpy]]
) -> None:
    url, receiver = grumpy
    receiver.answers = [(503, {}), (429, {"retry-after": "2"})]
    with sandbox_of(world, url) as sandbox:
        sandbox.post("/sandbox/personas/buyer/act", json={"action": "submit_form"})
        [row] = settled(sandbox)
        attempts = sandbox.get(f"/sandbox/webhooks/{row['id']}").json()["attempts"]
    assert row["state"] == "delivered"
    assert [attempt["status"] for attempt in attempts] == [503, 429, 202]
    at = [datetime.fromisoformat(attempt["at"]) for attempt in attempts]
    assert at[1] - at[0] >= timedelta(seconds=1)
    assert at[2] - at[1] >= timedelta(seconds=2)
    assert len({headers["webhook-id"] for headers in receiver.seen}) == 1
    assert len({headers["webhook-timestamp"] for headers in receiver.seen}) == 3


def test_a_webhook_that_cannot_be_signed_does_not_hold_up_the_others(
    world: World, grumpy: tuple[str, type[Grumpy]]
) -> None:
    edge = Edge(grumpy[0], webhook_secrets(SEED) | {"web": "whsec_no base64 at all!"})
    app = create_app(SEED, world.anchor, world=world, edge=edge)
    with served(app) as address, httpx.Client(base_url=address, timeout=20) as sandbox:
        sandbox.post("/sandbox/personas/buyer/act", json={"action": "submit_form"})
        sandbox.post("/sandbox/personas/buyer/act", json={"action": "change_job"})
        web, hubspot = settled(sandbox)
    assert (web["state"], hubspot["state"]) == ("failed", "delivered")
    assert web["error"]


def test_what_was_not_sent_yet_is_sent_after_a_restart(
    world: World, grumpy: tuple[str, type[Grumpy]], tmp_path: Path
) -> None:
    url, receiver = grumpy
    receiver.answers = [(503, {})]
    state = tmp_path / "state.sqlite"
    with sandbox_of(world, url, state) as sandbox:
        sandbox.post("/sandbox/personas/buyer/act", json={"action": "submit_form"})
        while not receiver.seen:
            time.sleep(0.01)
        sandbox.post("/sandbox/personas/duplicate/act", json={"action": "merge"})
        before = sandbox.get("/sandbox/personas/duplicate").json()
    with sandbox_of(world, url, state) as sandbox:
        assert {row["state"] for row in settled(sandbox)} == {"delivered"}
        after = sandbox.get("/sandbox/personas/duplicate").json()
        assert (after["contacts"], after["history"]) == (before["contacts"], before["history"])
        sandbox.post("/sandbox/reset").raise_for_status()
        assert sandbox.get("/sandbox/webhooks").json()["count"] == 0
        assert len(sandbox.get("/sandbox/personas/duplicate").json()["contacts"]) == 2


# ---- replay -----------------------------------------------------------------------------------


def test_replaying_a_whole_day_adds_nothing_to_the_log(process_scene: Scene) -> None:
    scene = process_scene
    rows = a_day(scene)
    assert {row["state"] for row in rows} == {"delivered"}
    before = scene.log()
    assert before[0] > 40
    first, last = rows[0]["at"], rows[-1]["at"]
    # Standard Webhooks signs whole seconds.
    time.sleep(1.1)
    until = (datetime.fromisoformat(last) + timedelta(seconds=1)).isoformat()
    answer = scene.sandbox.post("/sandbox/webhooks/replay", json={"from": first, "to": until})
    assert (answer.status_code, answer.json()["count"]) == (202, len(rows))
    again = scene.settled()
    assert scene.log() == before
    assert {row["attempt_count"] for row in again} == {2}
    told = scene.answered()
    assert told["accepted"] == before[0] == told["duplicate"]
    for row in again:
        one, two = scene.webhook(row["id"])["attempts"]
        assert two["is_replay"] and not one["is_replay"]
        # The same message, signed anew.
        assert one["headers"].get("webhook-id") == two["headers"].get("webhook-id")
        assert one["headers"] != two["headers"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (lambda rows: {"ids": [rows[0]["id"], rows[2]["id"]]}, [0, 2]),
        (lambda rows: {"persona": "student"}, [1]),
        (lambda rows: {"system": "hubspot"}, [2]),
        (lambda rows: {"from": rows[1]["at"], "to": rows[2]["at"]}, [1]),
        (lambda rows: {"from": rows[0]["at"], "persona": "buyer"}, [0, 2]),
    ],
    ids=["ids", "persona", "system", "time", "time and persona"],
)
def test_a_replay_takes_what_fits_and_nothing_else(
    scene: Scene, asked: Callable[[list[dict[str, Any]]], dict[str, Any]], expected: list[int]
) -> None:
    scene.act("buyer", "submit_form")
    scene.act("student", "submit_form")
    scene.act("buyer", "change_job")
    rows = scene.settled()
    answer = scene.sandbox.post("/sandbox/webhooks/replay", json=asked(rows))
    assert answer.json()["ids"] == [rows[place]["id"] for place in expected]
    replayed = [place for place, row in enumerate(scene.settled()) if row["attempt_count"] == 2]
    assert replayed == expected


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({}, 422, "ids, from and to, persona, system, or state"),
        ({"ids": ["msg_none"]}, 404, "msg_none"),
        ({"persona": "bob"}, 422, "known: buyer"),
        ({"from": "yesterday"}, 422, "ISO 8601"),
        ({"state": "lost"}, 422, "known: queued"),
        ({"state": "refused"}, 404, "nothing was sent that fits"),
        ({"colour": "red"}, 422, "known: ids"),
    ],
)
def test_a_replay_of_nothing_says_what_can_be_replayed(
    scene: Scene, asked: dict[str, Any], status: int, told: str
) -> None:
    scene.act("buyer", "submit_form")
    answer = scene.sandbox.post("/sandbox/webhooks/replay", json=asked)
    assert answer.status_code == status
    assert told in answer.json()["detail"]


# ---- faults on the way out ----------------------------------------------------------------------


@pytest.mark.parametrize("system", ["web", "hubspot"])
@pytest.mark.parametrize(
    ("kind", "seconds", "code"),
    [
        ("skew", -301.5, "SIGNATURE_EXPIRED"),
        ("skew", 302.0, "SIGNATURE_EXPIRED"),
        ("bad_signature", None, "SIGNATURE_INVALID"),
    ],
)
def test_a_wrong_clock_or_key_is_refused_until_it_is_put_right(
    scene: Scene, system: str, kind: str, seconds: float | None, code: str
) -> None:
    scene.fault(kind=kind, system=system, seconds=seconds)
    scene.act("buyer", "submit_form" if system == "web" else "change_job")
    [row] = scene.settled()
    assert (row["state"], row["status"], row["faults"]) == ("refused", 401, [kind])
    assert code_of(scene.webhook(row["id"])) == code
    assert scene.log() == (0, 0)
    scene.sandbox.post("/sandbox/webhooks/replay", json={"ids": [row["id"]]})
    assert [row["state"] for row in scene.settled()] == ["delivered"]
    assert scene.log()[0] > 0


@pytest.mark.parametrize("seconds", [-295.0, 295.0])
def test_a_clock_within_five_minutes_is_good_enough(scene: Scene, seconds: float) -> None:
    scene.fault(kind="skew", seconds=seconds)
    scene.act("buyer", "submit_form")
    [row] = scene.settled()
    assert (row["state"], row["faults"]) == ("delivered", ["skew"])


def test_a_webhook_sent_twice_is_counted_once(scene: Scene) -> None:
    scene.act("student", "submit_form")
    scene.settled()
    once = scene.log()[0]
    scene.fault(kind="duplicate", times=2)
    scene.act("buyer", "submit_form")
    scene.act("buyer", "change_job")
    rows = scene.settled()
    assert [row["attempt_count"] for row in rows] == [1, 2, 2]
    assert scene.log() == (once + once + 1, 0)
    assert scene.answered()["duplicate"] == once + 1


def test_a_reordered_webhook_comes_after_the_next_and_both_count(scene: Scene) -> None:
    scene.fault(kind="reorder", seconds=15)
    scene.act("buyer", "submit_form")
    scene.act("student", "submit_form")
    rows = scene.settled(within=10)
    first, second = (
        datetime.fromisoformat(scene.webhook(row["id"])["attempts"][0]["at"]) for row in rows
    )
    assert first > second
    assert rows[0]["faults"] == ["reorder"]
    assert {row["state"] for row in rows} == {"delivered"}


def test_a_delayed_webhook_is_late_and_a_missing_one_comes_by_replay(scene: Scene) -> None:
    scene.fault(kind="delay", seconds=1.5, persona="buyer")
    scene.fault(kind="missing", persona="student")
    scene.act("student", "submit_form")
    scene.act("buyer", "submit_form")
    withheld, late = scene.settled()
    assert (withheld["state"], withheld["status"], withheld["faults"]) == (
        "withheld",
        None,
        ["missing"],
    )
    attempt = scene.webhook(late["id"])["attempts"][0]
    waited = datetime.fromisoformat(attempt["at"]) - datetime.fromisoformat(late["at"])
    assert waited >= timedelta(seconds=1.5)
    before = scene.log()[0]
    scene.sandbox.post("/sandbox/webhooks/replay", json={"persona": "student"})
    assert scene.settled()[0]["state"] == "delivered"
    assert scene.log()[0] == 2 * before


def test_whatever_goes_wrong_on_the_way_every_item_is_landed_or_in_quarantine(
    process_scene: Scene,
) -> None:
    scene = process_scene
    from ingestion.landing.events import land_events
    from orchestration.reconciliation import reconcile

    for kind in ("duplicate", "bad_signature", "skew", "garbled", "missing", "reorder"):
        scene.fault(kind=kind, rate=0.25, times=None, seconds=None if kind == "skew" else 1)
    a_day(scene)
    # Every one once more, and those that were refused until they are taken.
    for _ in range(8):
        scene.sandbox.post("/sandbox/webhooks/replay", json={"from": "2020-01-01T00:00:00Z"})
        rows = scene.settled(within=60)
    hit = {name for row in rows for name in row["faults"]}
    assert hit == {"duplicate", "bad_signature", "skew", "garbled", "missing", "reorder"}
    scene.sandbox.delete("/sandbox/faults")
    scene.sandbox.post("/sandbox/webhooks/replay", json={"from": "2020-01-01T00:00:00Z"})
    assert {row["state"] for row in scene.settled(within=60)} == {"delivered"}
    told = scene.answered()
    events, quarantined = scene.log()
    assert (told["accepted"], told["quarantined"]) == (events, quarantined)
    assert quarantined > 0
    settings = Settings(home=scene.home)
    land_events(settings)
    counts = {count.what: count for count in reconcile(settings)}
    accepted, refused = counts["events accepted by the log"], counts["events refused"]
    assert (accepted.in_warehouse, accepted.missing) == (events, 0)
    assert (refused.in_quarantine, refused.missing) == (quarantined, 0)
    # As many as a day on which nothing went wrong: a form is three events, two where the box is left
    # alone, a property that changed is one, and so is the merge.
    assert events == 12 * 3 + 3 * 2 + 1 + (3 + 2) + (3 + 1) + 1


# ---- the command line ---------------------------------------------------------------------------


def test_the_command_replays_and_says_what_became_of_it(scene: Scene, empty: Any) -> None:
    scene.fault(kind="bad_signature", system="web")
    scene.act("buyer", "submit_form")
    scene.act("student", "submit_form")
    scene.settled()
    there = ("sandbox-replay", "--url", str(scene.sandbox.base_url), "--json")
    listed = empty.handoff(*there, "--persona", "buyer", "--dry-run")
    assert (listed.code, [row["state"] for row in listed.json["webhooks"]]) == (0, ["refused"])
    assert scene.log()[0] == 3, "a dry run sends nothing"
    done = empty.handoff(*there, "--state", "refused")
    assert (done.code, [row["state"] for row in done.json["webhooks"]]) == (0, ["delivered"])
    assert scene.log()[0] == 6
    scene.fault(kind="bad_signature", times=None)
    assert empty.handoff(*there, "--from", "2020-01-01").code == 3
    unknown = empty.handoff(*there, "--persona", "bob")
    assert unknown.code == 2 and "known: buyer" in unknown.json["error"]["message"]
    nothing = empty.handoff(*there)
    assert (nothing.code, nothing.json["error"]["code"]) == (2, "BAD_REQUEST")
    nobody = empty.handoff("sandbox-replay", "--url", "http://127.0.0.1:9", "--persona", "buyer")
    assert nobody.code == 3 and "handoff sandbox" in nobody.err
