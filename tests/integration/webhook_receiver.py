"""A receiver of webhooks in a process of its own, that can refuse, delay, hang up and answer anything; it verifies with the standardwebhooks library.

Run as a program it serves; imported it gives the other side, `Receiver`.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


@dataclass
class Receiver:
    """The other side of the server: what it got, and what it shall do next."""

    folder: Path
    port: int = 0
    secret: str = SECRET
    # PEM with certificate and key: it serves https then.
    certificate: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> Receiver:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
        self.folder.mkdir(exist_ok=True, parents=True)
        program = [
            sys.executable,
            __file__,
            str(self.port),
            str(self.folder / "got.jsonl"),
            self.secret,
        ]
        self._process = subprocess.Popen(
            [*program, *([str(self.certificate)] if self.certificate else [])]
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.is_open:
                return self
            time.sleep(0.02)
        raise AssertionError("the receiver did not come up")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def script(self, *rules: dict[str, Any]) -> None:
        """What it does to the next requests, one rule each; then it says 204 again."""
        httpx.post(f"http://127.0.0.1:{self.port}/script", json=list(rules)).raise_for_status()

    def always(self, **by_subject: dict[str, Any] | None) -> None:
        """What it does to every request about a subject until told otherwise; `_` is everybody."""
        httpx.post(f"http://127.0.0.1:{self.port}/always", json=by_subject).raise_for_status()

    def got(self) -> list[dict[str, Any]]:
        """Every request, in the order in which they were answered."""
        path = self.folder / "got.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def taken(self) -> list[dict[str, Any]]:
        """Those it took."""
        return [each for each in self.got() if each["status"] // 100 == 2]


def serve(port: int, log: Path, secret: str, certificate: str | None = None) -> None:
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    lock = threading.Lock()
    script: list[dict[str, Any]] = []
    always: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self._answer(200, {}, b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path in ("/script", "/always"):
                with lock:
                    if self.path == "/script":
                        script[:] = json.loads(body)
                    else:
                        always.update(json.loads(body))
                self._answer(200, {}, b"")
                return
            told = json.loads(body)
            subject = told["data"].get("person_id", "")
            with lock:
                rule = (
                    (always.get(subject) or always.get("_") or {}) if not script else script.pop(0)
                )
            try:
                Webhook(secret).verify(body, dict(self.headers.items()))
                is_verified = True
            except WebhookVerificationError:
                is_verified = False
            status = int(rule.get("status", 204 if is_verified else 401))
            began = time.time()
            time.sleep(rule.get("delay", 0))
            with lock, log.open("a") as file:
                line = {
                    "id": self.headers["webhook-id"],
                    "timestamp": int(self.headers["webhook-timestamp"]),
                    "signatures": len(self.headers["webhook-signature"].split(" ")),
                    "headers": dict(self.headers.items()),
                    "kind": told["type"],
                    "subject": subject,
                    "body": body.decode(),
                    "is_verified": is_verified,
                    "status": 0 if rule.get("hang_up") else status,
                    "began": began,
                    "ended": time.time(),
                }
                file.write(json.dumps(line) + "\n")
            if rule.get("hang_up"):
                # Read, and gone without a word: the sender cannot know.
                self.close_connection = True
                return
            self._answer(
                status,
                rule.get("headers", {}),
                rule.get("body", "").encode() * rule.get("times", 1),
                rule.get("drip", 0),
            )

        def _answer(
            self, status: int, headers: dict[str, str], body: bytes, drip: float = 0
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                if drip:
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(drip)
                else:
                    self.wfile.write(body)
            except OSError:
                self.close_connection = True

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
