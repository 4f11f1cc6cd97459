"""The serving file: readers never meet a lock, a gap or half a file; it is read-only and shut off."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from orchestration.serving import open_serving, publish, query

ROOT = Path(__file__).parents[2]

# Opens the file as any client does, again and again: a generation is whole when its two tables agree.
READ = """
import sys, duckdb
path, generations, reads = sys.argv[1], set(), 0
while True:
    connection = duckdb.connect(path, read_only=True)
    [(one,)] = connection.execute("select distinct generation from marts.fct_scores").fetchall()
    [(other, rows)] = connection.execute("select generation, count(*) from marts.dim_people group by generation").fetchall()
    connection.close()
    assert one == other and rows == 20000, (one, other, rows)
    generations.add(one)
    reads += 1
    if reads == 1:
        print("reading", flush=True)
    if one == 20:
        break
print(reads, len(generations), flush=True)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    _fill(settings, 0)
    return settings


def _fill(settings: Settings, generation: int) -> None:
    with contextlib.closing(connect(settings)) as connection:
        connection.execute("create schema if not exists marts")
        connection.execute("create schema if not exists raw_events")
        for table in ("marts.fct_scores", "marts.dim_people", "raw_events.contacts"):
            connection.execute(
                f"create or replace table {table} as select {generation} as generation, range as n from range(20000)"
            )


def test_readers_in_other_processes_never_fail_while_it_is_published_twenty_times(
    settings: Settings,
) -> None:
    publish(settings)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READ, str(settings.serving_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    for generation in range(1, 21):
        _fill(settings, generation)
        publish(settings)
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        reads, generations = map(int, out.split())
        assert reads > 5
        assert generations > 2


def test_a_reader_keeps_its_generation_until_it_opens_the_file_again(settings: Settings) -> None:
    publish(settings)
    with contextlib.closing(open_serving(settings)) as reader:
        _fill(settings, 1)
        publish(settings)
        assert reader.execute("select max(generation) from marts.fct_scores").fetchone() == (0,)
    assert query(settings, "select max(generation) from marts.fct_scores")[1] == [(1,)]


def test_of_several_statements_none_is_dropped_in_silence(settings: Settings) -> None:
    publish(settings)
    with pytest.raises(HandoffError, match="2 statements") as raised:
        query(settings, "select 1; select 2")
    assert raised.value.code == "QUERY_INVALID"
    assert query(settings, "select ';' as s; -- the end")[1] == [(";",)]
    pivoted = "pivot (select 'a' as k, 1 as v) on k using sum(v)"
    assert query(settings, pivoted) == (["a"], [(1,)])


def test_only_what_is_for_reading_is_published_in_a_format_every_client_reads(
    settings: Settings,
) -> None:
    done = publish(settings)
    assert done.rows == {("marts", "dim_people"): 20000, ("marts", "fct_scores"): 20000}
    header = done.path.read_bytes()[:16]
    assert header[8:12] == b"DUCK"
    assert header[12] == 67
    assert done.path.stat().st_mode & 0o007 == 0


def test_a_publisher_that_is_killed_leaves_the_old_file_and_the_next_one_clears_up(
    settings: Settings,
) -> None:
    publish(settings)
    before = settings.serving_path.read_bytes()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom ingestion.settings import Settings\nimport orchestration.serving as serving\n"
        "serving.sync_to_disk = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "serving.publish(Settings(home=Path(sys.argv[1])))"
    )
    died = subprocess.run([sys.executable, "-c", code, str(settings.root)], cwd=ROOT)
    assert died.returncode == -9
    assert len(list(settings.serving_path.parent.iterdir())) > 1
    assert settings.serving_path.read_bytes() == before
    publish(settings)
    assert list(settings.serving_path.parent.iterdir()) == [settings.serving_path]


def test_a_damaged_serving_file_is_said_to_be_damaged(settings: Settings) -> None:
    settings.serving_path.parent.mkdir(parents=True)
    settings.serving_path.write_bytes(b"garbage" * 5000)
    with pytest.raises(HandoffError) as refused:
        query(settings, "select 1")
    assert refused.value.code == "WAREHOUSE_CORRUPT"
    assert str(settings.serving_path) in refused.value.message
    assert "handoff run" in refused.value.remedy
    publish(settings)
    assert query(settings, "select 1 as one") == (["one"], [(1,)])


def test_nothing_published_is_said_before_a_file_is_made(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(HandoffError) as refused:
        query(settings, "select 1")
    assert refused.value.code == "SERVING_MISSING"
    assert not settings.root.exists()


def test_publishing_does_not_wait_for_a_reader_that_hangs(settings: Settings) -> None:
    publish(settings)
    with contextlib.closing(duckdb.connect(str(settings.serving_path), read_only=True)) as hanging:
        hanging.execute("select * from marts.dim_people")
        started = time.monotonic()
        publish(settings)
        assert time.monotonic() - started < 10
