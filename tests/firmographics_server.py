"""A service of firmographics behind real HTTP that knows some companies and can fail, drip and hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Service:
    """What it answers, and what it was asked."""

    companies: dict[str, Any] = field(default_factory=dict)
    # Of each domain, or of all ("*"): an HTTP status, "hang", "drip" or a body to send as it is.
    behaviour: dict[str, int | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        [domain] = parse_qs(urlsplit(handler.path).query)["domain"]
        self.asked.append(domain)
        self.tokens.append(handler.headers.get("authorization"))
        behaviour = self.behaviour.get(domain, self.behaviour.get("*"))
        if behaviour == "hang":
            self.released.wait(60)
            return
        status = behaviour if isinstance(behaviour, int) else 200
        if behaviour is None and domain not in self.companies:
            status = 404
        body = json.dumps(self.companies.get(domain, {})).encode()
        if isinstance(behaviour, str) and behaviour != "drip":
            body = behaviour.encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if behaviour == "drip":
            for byte in body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.released.wait(0.1):
                    return
            return
        handler.wfile.write(body)


@contextmanager
def serving(**settings: Any) -> Iterator[Service]:
    """The service, until the block ends; whoever it lets hang is let go then."""
    service = Service(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                service.answer(self)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}/v1/companies"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        server.server_close()
