"""Killing a push at every point and starting it again: one lead, one task, one final receipt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

# Loaded here, so that the forked runs do not load it again each time.
import simple_salesforce.api  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors.salesforce.destination import SalesforceDestination
from ingestion.log.owner import open_log, open_reader
from ingestion.outbound.apply import apply_plan
from ingestion.outbound.destination import Answer, RowOutcome
from ingestion.outbound.plan import Operation, build_plan
from ingestion.outbound.retry import RetryPolicy
from ingestion.sandbox.credentials import Tokens
from ingestion.settings import Settings

TOKENS = Tokens()
HTTP = httpx.Client(trust_env=False)
START = datetime(2026, 4, 14, 8, tzinfo=UTC)
PEOPLE = 3
KILLED = 9

SERVER = """
import socket, uvicorn
from datetime import datetime, UTC
from ingestion.sandbox.app import create_app
from ingestion.sandbox.world import build_world
start = datetime(2026, 4, 14, 8, tzinfo=UTC)
app = create_app(7, start, world=build_world(7, start, people=10))
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[listening])
"""


class Countdown:
    """Ends the process, as kill -9 would, at the n-th step; None never does."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.steps = 0

    def step(self) -> None:
        if self.steps == self.kill_at:
            os._exit(KILLED)
        self.steps += 1


class KillableLog:
    """The real log with a kill point before and after each append."""

    def __init__(self, log: Any, countdown: Countdown) -> None:
        self._log = log
        self._countdown = countdown

    def append(self, events: Sequence[dict[str, Any]]) -> Any:
        self._countdown.step()
        answers = self._log.append(events)
        self._countdown.step()
        return answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Careful(SalesforceDestination):
    """The real destination with a kill point before and after each request."""

    countdown = Countdown(None)

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        self.countdown.step()
        outcomes = self.send(operations)
        self.countdown.step()
        return outcomes

    def send(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        return super().write(operations)

    def read(
        self, object_name: str, fields: Collection[str], by: str, keys: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        self.countdown.step()
        found = self.find(object_name, fields, by, keys)
        self.countdown.step()
        return found

    def find(
        self, object_name: str, fields: Collection[str], by: str, keys: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        return super().read(object_name, fields, by, keys)


class Creating(Careful):
    """The negative control: plain creates, and a map of ids that is saved after delivery."""

    def __init__(self, *, home: Path, **options: Any) -> None:
        super().__init__(**options)
        self._saved = home / "ids.json"

    def _ids(self) -> dict[str, str]:
        return json.loads(self._saved.read_text()) if self._saved.is_file() else {}

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        outcomes = super().write(operations)
        created = {
            operation.external_id: outcome.record_id
            for operation, outcome in zip(operations, outcomes, strict=True)
        }
        self._saved.write_text(json.dumps(self._ids() | created))
        return outcomes

    def send(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        records = [
            {"attributes": {"type": operation.object}, **operation.payload}
            for operation in operations
        ]
        body = json.dumps({"allOrNone": False, "records": records})
        answers: Any = self._call(
            lambda client: client.restful("composite/sobjects", method="POST", data=body)
        )
        return [RowOutcome(Answer.WRITTEN, row["id"], created=True) for row in answers]

    def find(
        self, object_name: str, fields: Collection[str], by: str, keys: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        ids = {known: key for key, known in self._ids().items() if key in keys}
        found = super().find(object_name, fields, "Id", list(ids)) if ids else {}
        return {ids[known]: record for known, record in found.items()}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    # A process of its own: the runs are forked, and a fork of a server's threads can hang.
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}"
    for _ in range(200):
        try:
            HTTP.get(f"{url}/sandbox/world")
            break
        except httpx.TransportError:
            time.sleep(0.02)
    yield url
    server.terminate()
    server.wait(10)


def rows(owner: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(PEOPLE):
        person = f"kill-{number}"
        wanted: dict[str, dict[str, Any]] = {
            "Lead": {
                "LastName": person,
                "Company": "Acme",
                "Email": f"{person}@example.com",
                "OwnerId": owner,
            },
            "Task": {"Subject": f"Call {person}", "OwnerId": owner, "WhoId": None},
        }
        for name, payload in wanted.items():
            is_task = name == "Task"
            found.append(
                {
                    "object": name,
                    "action": "upsert",
                    "external_id_field": "Handoff_Task_Key__c"
                    if is_task
                    else "Handoff_Person_Id__c",
                    "external_id": f"{person}-task" if is_task else person,
                    "person_id": person,
                    "payload": payload,
                    "changes": {key: {"old": None, "new": new} for key, new in payload.items()},
                    "is_consented": True,
                    "depends_on_external_id": person if is_task else None,
                }
            )
    return found


def push(
    url: str, home: Path, owner: str, kind: type[Careful], kill_at: int | None, wanted: int
) -> tuple[int, int]:
    """One run in a process of its own, killed at a step or not; returns exit code and steps taken.

    `wanted` is how many of the rows the run still plans.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            countdown = Countdown(kill_at)
            options: dict[str, Any] = {"home": home} if kind is Creating else {}
            destination = kind(
                url=f"{url}/salesforce",
                client_id=TOKENS.salesforce_client_id,
                client_secret=TOKENS.salesforce_client_secret,
                api_version="62.0",
                **options,
            )
            destination.countdown = countdown
            configured = Settings(home=home)
            log = open_log(configured)
            plan = build_plan(
                "salesforce",
                rows(owner)[:wanted],
                as_of=START,
                observed_marker="",
                planned_at=datetime.now(UTC),
            )
            report = apply_plan(
                plan,
                destination,
                KillableLog(log, countdown),
                clock=lambda: datetime.now(UTC),
                consent_allows=lambda person_id: True,
                plans_dir=configured.plans_dir,
                retry=RetryPolicy(tries=3, first_wait_seconds=0.001),
            )
            log.close()
            code = 0 if report.is_clean else 2
            os.write(writable, str(countdown.steps).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writable)
    _, status = os.waitpid(child, 0)
    with os.fdopen(readable) as pipe:
        steps = pipe.read()
    return os.waitstatus_to_exitcode(status), int(steps or 0)


def reset(url: str) -> str:
    """Empties the org; returns the Id of somebody who may own leads."""
    HTTP.post(f"{url}/sandbox/reset").raise_for_status()
    users = query(url, "SELECT Id, LastName, IsActive FROM User")
    return str(next(u["Id"] for u in users if u["IsActive"] and u["LastName"] != "Integration"))


def query(url: str, soql: str) -> list[dict[str, Any]]:
    answer = HTTP.get(
        f"{url}/salesforce/services/data/v62.0/query",
        params={"q": soql},
        headers={"Authorization": f"Bearer {TOKENS.salesforce_token}"},
    )
    answer.raise_for_status()
    records: list[dict[str, Any]] = answer.json()["records"]
    return records


def broken_promises(url: str, home: Path, may_fail: bool = False) -> list[str]:
    """What is not as it must be after a push that reached its end.

    With `may_fail` a row may have failed before it was confirmed, in an attempt of its own.
    """
    found: list[str] = []
    leads = query(url, "SELECT Id, LastName FROM Lead WHERE LastName LIKE 'kill-%'")
    tasks = query(url, "SELECT Id, WhoId, Subject FROM Task WHERE Subject LIKE 'Call kill-%'")
    names = Counter(row["LastName"] for row in leads)
    subjects = Counter(row["Subject"] for row in tasks)
    for number in range(PEOPLE):
        for kind, count in (
            ("leads", names[f"kill-{number}"]),
            ("tasks", subjects[f"Call kill-{number}"]),
        ):
            if count != 1:
                found.append(f"{count} {kind} for kill-{number}")
    owners = {row["Id"]: row["LastName"] for row in leads}
    found += [
        f"{row['Subject']} hangs on {owners.get(row['WhoId'])}"
        for row in tasks
        if row["Subject"] != f"Call {owners.get(row['WhoId'])}"
    ]
    reader = open_reader(Settings(home=home))
    receipts = [entry.event["data"] for entry in reader.read(0, 10_000)]
    reader.close()
    if may_fail:
        ended = Counter(
            (r["operation_id"], r.get("attempt")) for r in receipts if r["status"] != "sent"
        )
        sent = {(r["operation_id"], r["attempt"]) for r in receipts if r["status"] == "sent"}
        found += [f"sent and never ended: {key}" for key in sent - ended.keys()]
        found += [f"ended twice: {key}" for key in sent if ended[key] > 1]
        receipts = [r for r in receipts if r["status"] not in ("failed", "sent")]
    sends = Counter(r["operation_id"] for r in receipts if r["status"] == "sent")
    finals = Counter(r["operation_id"] for r in receipts if r["status"] != "sent")
    if len(finals) != 2 * PEOPLE or set(finals.values()) != {1}:
        found.append(f"final receipts by operation: {sorted(finals.values())}")
    if not may_fail and set(sends.values()) != {1}:
        found.append(f"sent receipts by operation: {sorted(sends.values())}")
    found += [f"ended {r['status']}" for r in receipts if r["status"] not in ("sent", "confirmed")]
    return found


def push_with_kills(
    url: str, home: Path, kind: type[Careful], kills: Sequence[int]
) -> tuple[list[str], int]:
    """Pushes, killed at each of `kills` in turn, then to the end; the breaches and the deaths."""
    owner = reset(url)
    deaths = 0
    for kill_at in kills:
        code, _ = push(url, home, owner, kind, kill_at, 2 * PEOPLE)
        assert code in (0, KILLED)
        deaths += code == KILLED
    code, _ = push(url, home, owner, kind, None, 2 * PEOPLE)
    assert code == 0
    return broken_promises(url, home), deaths


def steps_of(url: str, home: Path, kind: type[Careful]) -> int:
    """How many kill points a whole push has."""
    code, steps = push(url, home, reset(url), kind, None, 2 * PEOPLE)
    assert code == 0
    assert broken_promises(url, home) == []
    return steps


def test_a_push_killed_at_any_point_and_run_again_creates_nothing_twice(
    sandbox: str, tmp_path: Path
) -> None:
    points = steps_of(sandbox, tmp_path / "whole", Careful)
    # Leads and tasks: read, sent receipts, write, read back, final receipts; before and after each.
    assert points == 20
    for kill_at in range(points):
        found, deaths = push_with_kills(sandbox, tmp_path / str(kill_at), Careful, [kill_at])
        assert deaths == 1
        assert found == [], f"killed at step {kill_at}"


def test_the_same_harness_catches_a_destination_that_creates(sandbox: str, tmp_path: Path) -> None:
    assert steps_of(sandbox, tmp_path / "whole", Creating) == 20
    # Step 5 and 15: the leads, then the tasks, are created and the answer is not yet kept.
    for kill_at, expected in ((5, "2 leads for kill-0"), (15, "2 tasks for kill-0")):
        found, deaths = push_with_kills(sandbox, tmp_path / str(kill_at), Creating, [kill_at])
        assert deaths == 1
        assert expected in found


FAULTS = st.fixed_dictionaries(
    {
        "path_prefix": st.just("/salesforce/services/data"),
        "method": st.sampled_from(["PATCH", "GET"]),
        "status": st.sampled_from([429, 500, 503]),
        "times": st.integers(1, 2),
        "after_commit": st.booleans(),
    }
)


def test_deaths_and_faults_in_any_order_create_nothing_twice(
    sandbox: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.integers(0, 24), st.none() | FAULTS), min_size=1, max_size=4))
    def check(runs: list[tuple[int, dict[str, Any] | None]]) -> None:
        home = tmp_path_factory.mktemp("deaths")
        owner = reset(sandbox)
        for kill_at, fault in runs:
            if fault is not None:
                # A 429 says that nothing was done; one after the write would be a false promise.
                honest = fault | {"after_commit": fault["after_commit"] and fault["status"] != 429}
                HTTP.post(f"{sandbox}/sandbox/faults", json=honest).raise_for_status()
            push(sandbox, home, owner, Careful, kill_at, 2 * PEOPLE)
        for _ in range(5):
            if push(sandbox, home, owner, Careful, None, 2 * PEOPLE)[0] == 0:
                break
        assert broken_promises(sandbox, home, may_fail=True) == []

    check()


@pytest.mark.parametrize("kill_at", range(0, 20, 3))
def test_a_newer_plan_after_a_death_leaves_no_operation_without_an_end(
    sandbox: str, tmp_path: Path, kill_at: int
) -> None:
    owner = reset(sandbox)
    assert push(sandbox, tmp_path, owner, Careful, kill_at, 2 * PEOPLE)[0] == KILLED
    # The next plan wants the first person only; whatever the dead run had sent must still be ended.
    assert push(sandbox, tmp_path, owner, Careful, None, 2)[0] == 0
    reader = open_reader(Settings(home=tmp_path))
    receipts = [entry.event["data"] for entry in reader.read(0, 10_000)]
    reader.close()
    sent = Counter(r["operation_id"] for r in receipts if r["status"] == "sent")
    finals = Counter(r["operation_id"] for r in receipts if r["status"] != "sent")
    assert sent.keys() <= finals.keys()
    assert set(finals.values()) == {1}
    there = {
        row["LastName"]
        for row in query(sandbox, "SELECT LastName FROM Lead WHERE LastName LIKE 'kill-%'")
    }
    confirmed = {
        r["external_id"] for r in receipts if r["object"] == "Lead" and r["status"] == "confirmed"
    }
    assert there == confirmed
