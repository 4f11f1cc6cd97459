"""One writer at a time, and the second one hears who the first is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.writer_lock import warehouse_writer

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from ingestion.settings import Settings
from orchestration.writer_lock import warehouse_writer
with warehouse_writer(Settings(home=Path(sys.argv[1]))):
    print("holding", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_writes(home: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_at_once_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with another_process_writes(tmp_path) as holder:
        started = time.monotonic()
        with (
            pytest.raises(HandoffError) as refused,
            warehouse_writer(Settings(home=tmp_path)),
        ):
            pass
        assert time.monotonic() - started < 5, "it waited for the other one"
    assert refused.value.code == "WAREHOUSE_LOCKED"
    assert str(holder.pid) in refused.value.message
    assert str(holder.pid) in refused.value.remedy


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with another_process_writes(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with warehouse_writer(Settings(home=tmp_path)):
            assert (tmp_path / "warehouse.lock").read_text() == str(os.getpid())


def test_whoever_waits_gets_the_lock_when_it_is_given_up(tmp_path: Path) -> None:
    with another_process_writes(tmp_path) as holder:
        threading.Timer(0.3, holder.kill).start()
        with warehouse_writer(Settings(home=tmp_path), wait_seconds=10):
            assert (tmp_path / "warehouse.lock").read_text() == str(os.getpid())


def test_the_lock_is_held_until_its_outermost_holder_lets_go(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with warehouse_writer(settings):
        with warehouse_writer(settings):
            pass
        assert _refused(tmp_path)
    assert not _refused(tmp_path)


def test_an_error_inside_gives_the_lock_up(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), warehouse_writer(Settings(home=tmp_path)):
        raise ZeroDivisionError
    assert not _refused(tmp_path)


def test_two_homes_do_not_hinder_each_other(tmp_path: Path) -> None:
    with (
        another_process_writes(tmp_path / "one"),
        warehouse_writer(Settings(home=tmp_path / "two")),
    ):
        pass


def _refused(home: Path) -> bool:
    code = HOLD.replace("sys.stdin.read()", "pass")
    ran = subprocess.run(
        [sys.executable, "-c", code, str(home)], cwd=ROOT, capture_output=True, text=True
    )
    return "HandoffError" in ran.stderr and str(os.getpid()) in ran.stderr
