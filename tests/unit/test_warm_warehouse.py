"""The warehouse that stays open between batches: held against others, given up to who waits, whole on disk when it is quiet or killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.landing.warehouse import connect, write_ahead_log
from ingestion.settings import Settings
from orchestration import warm_warehouse
from orchestration.warm_warehouse import WarmWarehouse
from orchestration.writer_lock import warehouse_writer

ANOTHER = """
import sys
from pathlib import Path
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from orchestration.writer_lock import warehouse_writer
settings = Settings(home=Path(sys.argv[1]))
print("waiting", flush=True)
with warehouse_writer(settings, wait_seconds=float(sys.argv[2])):
    print(connect(settings).execute("select count(*) from batches").fetchone()[0], flush=True)
"""

KILLED = """
import os, sys
from pathlib import Path
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from orchestration.warm_warehouse import WarmWarehouse
settings = Settings(home=Path(sys.argv[1]))
warm = WarmWarehouse(settings)
warm.take()
connect(settings).execute("create table batches as select 1 as number")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def warm(settings: Settings) -> Iterator[WarmWarehouse]:
    warehouse = WarmWarehouse(settings)
    yield warehouse
    warehouse.let_go()


def write(settings: Settings, number: int = 1) -> None:
    connection = connect(settings)
    connection.execute("create table if not exists batches (number int)")
    connection.execute("insert into batches values (?)", [number])
    connection.close()


def another(settings: Settings, wait_seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ANOTHER, str(settings.root), str(wait_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_refused(settings: Settings) -> bool:
    """Whether another process that does not wait is turned away."""
    answer, error = another(settings, 0).communicate()
    return answer == "waiting\n" and f"process {os.getpid()} is writing" in error


def test_between_batches_it_is_nobody_elses(settings: Settings, warm: WarmWarehouse) -> None:
    warm.take()
    write(settings)
    assert is_refused(settings)
    warm.let_go()
    assert not is_refused(settings)


@pytest.mark.parametrize("is_busy", [False, True], ids=["at rest", "batch after batch"])
def test_whoever_waits_gets_it_whole(
    settings: Settings, warm: WarmWarehouse, is_busy: bool
) -> None:
    warm.take()
    write(settings)
    process = another(settings, 30)
    answered = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        answers.extend(process.stdout)
        answered.set()

    answers: list[str] = []
    thread = threading.Thread(target=read)
    thread.start()
    while not answered.wait(0.02):
        if is_busy:
            warm.take()
        else:
            warm.rest()
    thread.join()
    assert process.wait() == 0
    assert answers == ["waiting\n", "1\n"]
    warm.take()
    write(settings)


def test_in_the_quiet_a_checkpoint_is_written_once(
    settings: Settings, warm: WarmWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm.take()
    write(settings)
    warm.rest()
    assert write_ahead_log(settings).exists(), "it did not wait for the quiet"
    monkeypatch.setattr(warm_warehouse, "QUIET_SECONDS", 0.0)
    warm.rest()
    assert not write_ahead_log(settings).exists()
    assert is_refused(settings)
    # Until the next batch there is nothing to write down: what is there now is somebody's who did not say so.
    write(settings)
    warm.rest()
    assert write_ahead_log(settings).exists()
    warm.take()
    warm.rest()
    assert not write_ahead_log(settings).exists()


def test_let_go_it_leaves_one_whole_file_and_a_free_lock(
    settings: Settings, warm: WarmWarehouse
) -> None:
    warm.take()
    write(settings)
    assert write_ahead_log(settings).exists()
    warm.let_go()
    assert not write_ahead_log(settings).exists()
    with warehouse_writer(settings):
        pass
    warm.let_go()


def test_killed_while_it_holds_it_loses_nothing(settings: Settings) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, str(settings.root)], check=False)
    assert process.returncode == -9
    assert write_ahead_log(settings).exists(), (
        "it was written down before, and this test shows nothing"
    )
    warm = WarmWarehouse(settings)
    warm.take()
    connection = connect(settings)
    assert connection.execute("from batches").fetchall() == [(1,)]
    connection.close()
    warm.let_go()
