"""One owner, many processes: events are handed over, and a dead owner is followed by the next."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import Rejection
from ingestion.log.owner import ClientLog, OwnerLog, open_log, open_reader
from ingestion.settings import Settings

ROOT = Path(__file__).parents[2]
OWNER = """
import sys, time
from ingestion.log.owner import OwnerLog, open_log
from ingestion.settings import Settings
log = open_log(Settings(home=sys.argv[1]))
print(type(log).__name__, flush=True)
sys.stdin.read()
log.close()
print("closed", flush=True)
"""
WRITER = """
import sys
from ingestion.log.owner import open_log
from ingestion.settings import Settings
log = open_log(Settings(home=sys.argv[1]))
for number in range(int(sys.argv[3])):
    subject = sys.argv[2]
    (answer,) = log.append([{"id": f"{subject}-{number}", "source": "urn:test",
                             "subject": subject, "data": {"number": number}}])
    print(answer.status, flush=True)
log.close()
"""


def event(number: int, subject: str = "here") -> dict[str, Any]:
    return {
        "id": f"{subject}-{number}",
        "source": "urn:test",
        "subject": subject,
        "data": {"number": number},
    }


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_hands_its_events_to_the_owner(tmp_path: Path, start: Start) -> None:
    owner = start(OWNER, tmp_path)
    assert line(owner) == "OwnerLog"
    log = open_log(Settings(home=tmp_path))
    assert isinstance(log, ClientLog)
    answers = log.append([event(1), event(1), event(2)])
    assert [(answer.status, answer.seq) for answer in answers] == [
        ("accepted", 1),
        ("duplicate", 1),
        ("accepted", 2),
    ]
    kept = Rejection("file", "SCHEMA_INVALID", "/id", "m", b"\x00\xff", "c", event_id="9")
    assert log.quarantine([kept]) == [1]
    assert log.read_quarantine()[0].rejection == kept
    assert [entry.event["id"] for entry in log.read()] == ["here-1", "here-2"]
    log.close()


def test_a_killed_owner_is_followed_without_loss_or_repetition(
    tmp_path: Path, start: Start
) -> None:
    owner = start(OWNER, tmp_path)
    assert line(owner) == "OwnerLog"
    other = start(WRITER, tmp_path, "there", 150)
    log = open_log(Settings(home=tmp_path))
    answered: list[str] = []
    half, done = threading.Event(), 150

    def write() -> None:
        for number in range(done):
            answered.append(log.append([event(number)])[0].status)
            if number == 50:
                half.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert half.wait(20)
    assert line(other) == "accepted"
    owner.send_signal(signal.SIGKILL)
    writer.join(30)
    assert len(answered) == done
    # Not communicate(): it passes over what readline() has read ahead.
    assert other.stdout is not None
    out = other.stdout.read()
    assert len(out.split()) == 149
    # An answer lost with the owner comes back as a duplicate; nothing else may.
    assert answered.count("accepted") >= done - 1
    assert set(answered) | set(out.split()) <= {"accepted", "duplicate"}
    entries = log.read(limit=1_000)
    assert [entry.seq for entry in entries] == list(range(1, 301))
    for subject in ("here", "there"):
        numbers = [e.event["data"]["number"] for e in entries if e.event["subject"] == subject]
        assert numbers == list(range(150))
    log.close()


def test_an_owner_that_stops_hands_over_to_its_client(tmp_path: Path, start: Start) -> None:
    owner = start(OWNER, tmp_path)
    assert line(owner) == "OwnerLog"
    log = open_log(Settings(home=tmp_path))
    assert log.append([event(1)])[0].seq == 1
    assert owner.stdin is not None
    owner.stdin.close()
    assert line(owner) == "closed"
    assert owner.wait(10) == 0
    assert log.append([event(2)])[0].seq == 2
    follower = start(OWNER, tmp_path)
    assert line(follower) == "ClientLog"
    log.close()


def test_a_reader_follows_the_log_while_another_process_owns_it(
    tmp_path: Path, start: Start
) -> None:
    reader = open_reader(Settings(home=tmp_path))
    assert reader.last_seq() == 0
    writer = start(WRITER, tmp_path, "there", 5)
    writer.communicate(timeout=20)
    assert reader.last_seq() == 5
    reader.close()


def test_one_process_opening_twice_still_has_one_owner(tmp_path: Path) -> None:
    first = open_log(Settings(home=tmp_path))
    second = open_log(Settings(home=tmp_path))
    assert (type(first), type(second)) == (OwnerLog, ClientLog)
    assert second.append([event(1)])[0].status == "accepted"
    assert first.append([event(1)])[0].status == "duplicate"
    second.close()
    first.close()


def test_a_home_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 60) / ("e" * 60)
    first = open_log(Settings(home=home))
    second = open_log(Settings(home=home))
    assert second.append([event(1)])[0].status == "accepted"
    second.close()
    first.close()


def test_other_users_cannot_reach_the_owner(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.log_dir.mkdir(parents=True, mode=0o755)
    log = open_log(settings)
    assert stat.S_IMODE((settings.log_dir / "owner.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.log_dir.stat().st_mode) == 0o700
    log.close()
    assert not (settings.log_dir / "owner.sock").exists()


def test_a_log_that_cannot_be_opened_says_so_and_frees_the_lock(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.log_dir.mkdir(parents=True)
    settings.log_path.write_bytes(b"this is no database, " * 100)
    for _ in range(2):
        with pytest.raises(HandoffError) as raised:
            open_log(settings)
        assert raised.value.code == "LOG_CORRUPT"
