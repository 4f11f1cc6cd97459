"""A headless Chromium driven over its own protocol: pages are looked at, clicked and filled in as people do."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30.0


class Page:
    """One tab. Source: https://chromedevtools.github.io/devtools-protocol/."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        # What the page's policy forbade, and what it fetched.
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._connection.recv(SECONDS))
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        if told["method"] == "Log.entryAdded":
            self.complaints.append(told["params"]["entry"]["text"])
        elif told["method"] == "Network.requestWillBeSent":
            self.requests.append(told["params"]["request"]["url"])

    def look(self, width: int, *, dark: bool = False, script: bool = True, zone: str = "") -> None:
        """A window of so many CSS pixels, its colours, whether scripts run, and where the clock hangs."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = "dark" if dark else "light"
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        if zone:
            self.ask("Emulation.setTimezoneOverride", timezoneId=zone)

    def go(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.settle()

    def settle(self) -> None:
        """Until the page is there and goes nowhere else."""
        until, seen = time.monotonic() + SECONDS, ""
        while time.monotonic() < until:
            time.sleep(0.15)
            now = f"{self.run('document.readyState')} {self.run('location.href')}"
            if now == seen and now.startswith("complete"):
                return
            seen = now
        raise AssertionError(f"the page did not settle: {seen}")

    def run(self, expression: str) -> Any:
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return told["result"].get("value")

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def click(self, words: str) -> None:
        """Press the link or button with these words, with the mouse."""
        find = f"[...document.querySelectorAll('a,button')].find(each => each.innerText.trim() === {json.dumps(words)})"
        assert self.run(f"!!{find}"), f"no {words!r} in {self.text()}"
        self.run(f"{find}.scrollIntoView({{block: 'center'}})")
        place = self.run(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])({find}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)  # fmt: skip
        self.settle()

    def fill(self, name: str, value: str) -> None:
        self.run(f"document.querySelector('[name={name}]').focus()")
        self.run(f"document.querySelector('[name={name}]').select?.()")
        self.ask("Input.insertText", text=value)

    def choose(self, name: str, value: str) -> None:
        self.run(f"document.querySelector('select[name={name}]').value = {json.dumps(value)}")

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - innerWidth"))

    def picture(self, path: Path) -> None:
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A tab of a browser of its own; skipped, with the reason, where there is none."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        assert "CI" not in os.environ, "Chromium is missing: `make services` installs it"
        pytest.skip("Chromium is not installed")
    errors = folder / "chromium.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-proxy-server",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}",
                "about:blank",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        until, port = time.monotonic() + SECONDS, None
        while port is None:
            assert time.monotonic() < until and process.poll() is None, errors.read_text()
            found = re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", errors.read_text())
            port = found[1] if found else None
            time.sleep(0.05)
        tabs = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(20)
