"""Fixtures of the tests that run the command line: processes of `handoff`, a simulated company, and a home it was run on once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.sandbox.credentials import Tokens, environment
from ingestion.settings import Settings

ROOT = Path(__file__).parents[2]
SEED = 7

# Both worlds end at the same hour, and every run speaks for the same instant: what differs is then not the clock's doing.
ANCHOR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
AS_OF = (ANCHOR + timedelta(hours=3)).isoformat()


# Every mart as a bag of rows.
Marts = dict[str, Counter[tuple[Any, ...]]]

# POSTs that change nothing: they carry what is asked for.
READING_POSTS = ("/token", "/search", "/batch/read")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as a strict parser reads it: NaN and Infinity are no JSON."""

        def refuse(word: str) -> Any:
            raise AssertionError(f"{word} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


@dataclass
class Command:
    """A running `handoff`."""

    pid: int
    _poll: Callable[[], int | None]
    _folder: Path
    _code: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs; negative when a signal ended it."""
        if self._code is None:
            self._code = self._poll()
        return self._code

    def wait(self, seconds: float = 600.0) -> Outcome:
        """Wait for the end."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self._text('stderr')[-2000:]}"
            time.sleep(0.01)
        assert self._code is not None
        return Outcome(self._code, self._text("stdout"), self._text("stderr"))

    def said(self) -> str:
        """What it has written to standard error so far."""
        return self._text("stderr")

    def printed(self) -> str:
        """What it has written to standard output so far."""
        return self._text("stdout")

    def send(self, number: int) -> None:
        """Send a signal to this process and no other."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _text(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8", errors="replace")


class WarmProcess:
    """The process that `handoff` is forked from; see `warm_process.py`."""

    def __init__(self, folder: Path) -> None:
        """Start it and wait until everything is imported."""
        self._folder = folder
        with (folder / "warm.log").open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("warm_process.py"))],
                env=_environment({"HANDOFF_HOME": str(folder / "warm")}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        assert self._answer() == "ready", (folder / "warm.log").read_text()

    def start(self, *arguments: str, variables: Mapping[str, str]) -> Command:
        """Run `handoff` with these arguments and only these HANDOFF_* variables."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        request = {
            "do": "start",
            "arguments": list(arguments),
            "environment": _environment(variables),
            "folder": str(folder),
            "stdout": str(folder / "stdout"),
            "stderr": str(folder / "stderr"),
        }
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        pid = int(self._ask(request))
        return Command(pid, lambda: self._ask({"do": "poll", "pid": pid}), folder)

    def stop(self) -> None:
        """End it; what it forked ends by itself."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=20)

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


@pytest.fixture(scope="session")
def warm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """One for all tests."""
    process = WarmProcess(tmp_path_factory.mktemp("commands"))
    yield process
    process.stop()


@dataclass(frozen=True)
class Company:
    """A simulated company behind HTTP and a home that is pointed at it."""

    url: str
    home: Path
    variables: dict[str, str]
    _warm: WarmProcess = field(repr=False)

    @property
    def settings(self) -> Settings:
        """Settings of the home; no outside system is configured."""
        return Settings(home=self.home)

    def start(self, *arguments: str, **overrides: str | None) -> Command:
        """Start `handoff` here; an override of None takes a variable away."""
        merged: dict[str, str | None] = {**self.variables, **overrides}
        kept = {name: value for name, value in merged.items() if value is not None}
        return self._warm.start(*arguments, variables=kept)

    def handoff(self, *arguments: str, **overrides: str | None) -> Outcome:
        """Run `handoff` here to its end."""
        return self.start(*arguments, **overrides).wait()

    def at(self, home: Path) -> Company:
        """The same company, another home."""
        return Company(self.url, home, {**self.variables, "HANDOFF_HOME": str(home)}, self._warm)

    def alone(self, home: Path) -> Company:
        """Another home with no system configured."""
        return Company(self.url, home, {"HANDOFF_HOME": str(home)}, self._warm)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the published file."""
        import duckdb

        with contextlib.closing(
            duckdb.connect(str(self.settings.serving_path), read_only=True)
        ) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql, list(values)).fetchall()

    def marts(self, *, without: Collection[str] = ()) -> Marts:
        """Every published mart; `without` names columns (`column`) and whole marts (`mart.*`) to leave out."""
        columns: dict[str, list[str]] = {}
        for table, column in self.rows(
            "select table_name, column_name from duckdb_columns() where schema_name = 'marts' "
            "and database_name = current_database() order by table_name, column_index"
        ):
            if column not in without and f"{table}.*" not in without:
                columns.setdefault(table, []).append(f'"{column}"')
        return {
            table: Counter(
                tuple(_comparable(value) for value in row)
                for row in self.rows(f"select {', '.join(names)} from marts.{table}")
            )
            for table, names in columns.items()
        }

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """What was asked of the company, oldest first."""
        answer = httpx.get(f"{self.url}/sandbox/requests", params={"after": after})
        return list(answer.json()["requests"])

    def writes(self, after: int = 0) -> list[dict[str, Any]]:
        """Requests that may have changed something there."""
        return [
            row
            for row in self.requests(after)
            if row["method"] in ("PATCH", "PUT", "DELETE")
            or (row["method"] == "POST" and not row["path"].endswith(READING_POSTS))
        ]

    def soql(self, query: str) -> list[dict[str, Any]]:
        """Records of the CRM, asked directly, past Handoff."""
        tokens = Tokens()
        with httpx.Client(
            base_url=f"{self.url}/salesforce",
            headers={"Authorization": f"Bearer {tokens.salesforce_token}"},
        ) as client:
            answer = client.get("/services/data/v62.0/query", params={"q": query}).json()
            records = list(answer["records"])
            while not answer["done"]:
                answer = client.get(answer["nextRecordsUrl"].split("/salesforce")[-1]).json()
                records += answer["records"]
        return records


@pytest.fixture(scope="session")
def start_company(
    warm_process: WarmProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Company]]:
    """Starts simulated companies, equal until somebody writes to them; `edge_url` is where their webhooks go."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, edge_url: str | None = None) -> Company:
        folder = tmp_path_factory.mktemp(name)
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        code = (
            "from datetime import datetime; from ingestion.settings import Settings; from ingestion.sandbox.app import serve; "
            f"serve(Settings(), {port}, seed={SEED}, anchor=datetime.fromisoformat('{ANCHOR.isoformat()}'), edge_url={edge_url!r})"
        )
        with (folder / "sandbox.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code],
                    env=_environment({"HANDOFF_HOME": str(folder / "sandbox")}),
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                )
            )
        _wait_for(f"{url}/sandbox/world", folder / "sandbox.log")
        home = folder / "home"
        return Company(
            url, home, {"HANDOFF_HOME": str(home), **environment(url, SEED)}, warm_process
        )

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=20)


@dataclass(frozen=True)
class Ran:
    """A company Handoff ran on once, undisturbed."""

    company: Company
    arguments: tuple[str, ...]
    outcome: Outcome


@pytest.fixture(scope="session")
def ran(start_company: Callable[..., Company]) -> Ran:
    """The company after one `handoff run`; tests that change the home take a `copied` one."""
    company = start_company("undisturbed")
    arguments = ("run", "--as-of", AS_OF)
    outcome = company.handoff(*arguments)
    assert outcome.code == 0, outcome.err
    return Ran(company, arguments, outcome)


@pytest.fixture
def company(ran: Ran) -> Company:
    """The company after one `handoff run`, to read."""
    return ran.company


@pytest.fixture
def copied(company: Company, tmp_path: Path) -> Company:
    """A copy of the home that nothing else uses, with no system configured."""
    home = tmp_path / "home"
    shutil.copytree(company.home, home, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    return company.alone(home)


@pytest.fixture
def empty(warm_process: WarmProcess, tmp_path: Path) -> Company:
    """A home in which nothing has happened, with no system configured."""
    home = tmp_path / "home"
    return Company("", home, {"HANDOFF_HOME": str(home)}, warm_process)


def _comparable(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    return repr(value) if isinstance(value, list | dict) else value


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


def _is_inherited(name: str) -> bool:
    return not name.startswith(("HANDOFF_", "DBT_", "DAGSTER_"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2.0).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} did not come up: {log.read_text()}")
