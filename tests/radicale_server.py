"""Radicale, started as a process: a CalDAV server with a password file and rights."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ingestion.settings import Settings

CONFIG = """\
[server]
hosts = 127.0.0.1:{port}
[auth]
type = htpasswd
htpasswd_filename = {folder}/users
htpasswd_encryption = plain
delay = 0
[rights]
type = from_file
file = {folder}/rights
[storage]
filesystem_folder = {folder}/store
[logging]
level = warning
"""
RIGHTS = """\
[root]
user: .+
collection:
permissions: R
[reader]
user: handoff
collection: .*
permissions: Rr
[principal]
user: .+
collection: {user}
permissions: RW
[calendars]
user: .+
collection: {user}/[^/]+
permissions: rw
"""
WRITING_RIGHTS = RIGHTS.replace("permissions: Rr\n", "permissions: RrWw\n")
MKCALENDAR = """<?xml version="1.0"?><C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:set><D:prop>
<C:calendar-timezone>BEGIN:VCALENDAR
BEGIN:VTIMEZONE
TZID:{zone}
END:VTIMEZONE
END:VCALENDAR</C:calendar-timezone></D:prop></D:set></C:mkcalendar>"""


@dataclass
class Server:
    """A running Radicale; reps write with their own passwords, Handoff may only read."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "radicale", "--config", str(self.folder / "config")],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                httpx.get(self.url, trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def make(self, rep: str, calendar: str, zone: str) -> None:
        self.ask("MKCALENDAR", rep, f"{calendar}/", MKCALENDAR.format(zone=zone))

    def put(self, rep: str, path: str, *components: str) -> None:
        body = "\n".join(
            [
                "BEGIN:VCALENDAR",
                "VERSION:2.0",
                "PRODID:-//test//EN",
                *components,
                "END:VCALENDAR",
                "",
            ]
        )
        self.ask("PUT", rep, path, body.replace("\n", "\r\n"))

    def delete(self, rep: str, path: str) -> None:
        self.ask("DELETE", rep, path, "")

    def ask(self, method: str, rep: str, path: str, body: str) -> None:
        answer = httpx.request(
            method, f"{self.url}/{rep}/{path}", content=body.encode(), auth=(rep, f"{rep}'s"),
            headers={"content-type": "text/calendar" if method == "PUT" else "application/xml"},
            trust_env=False,
        )  # fmt: skip
        assert answer.is_success, (method, path, answer.text)

    def settings(self, home: Path, **changes: Any) -> Settings:
        return Settings(
            home=home,
            **{
                "caldav_url": self.url,
                "caldav_username": "handoff",
                "caldav_password": "handoff's",
                "caldav_calendars": "ada@ours.example=/ada/meetings/,bob@ours.example=/bob/meetings/",
                **changes,
            },
        )


@contextmanager
def radicale(folder: Path, rights: str = RIGHTS) -> Iterator[Server]:
    """A server with a calendar of Ada's in Berlin and one of Bob's in New York; `rights` say what Handoff may."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(folder, free.getsockname()[1])
    folder.joinpath("config").write_text(CONFIG.format(port=server.port, folder=folder))
    folder.joinpath("rights").write_text(rights)
    folder.joinpath("users").write_text("ada:ada's\nbob:bob's\nhandoff:handoff's\n")
    server.start()
    try:
        server.make("ada", "meetings", "Europe/Berlin")
        server.make("bob", "meetings", "America/New_York")
        yield server
    finally:
        server.stop()
