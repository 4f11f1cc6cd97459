"""What kernels talk to over HTTP: `python -m benchmarks.counterparts edge|bare|sandbox PORT [HOME]`."""

from __future__ import annotations

import sys
from pathlib import Path

# What is measured is the work of a request, not how many one sender is allowed.
NO_LIMITS = "events=100000000/minute;webhooks=100000000/minute"


def main(arguments: list[str]) -> None:
    """Serve on the loopback until terminated."""
    name, port, *home = arguments
    SERVERS[name](int(port), Path(*home))


def _edge(port: int, home: Path) -> None:
    from ingestion.edge.server import serve
    from ingestion.settings import Settings

    serve(
        Settings(home=home, webhook_secrets_hubspot="benchmark-secret", rate_limits=NO_LIMITS),
        port=port,
    )


def _bare(port: int, _: Path) -> None:
    """Reads a body and answers 202, on the edge's server with the edge's options."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def take(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"accepted"}', status_code=202, media_type="application/json")

    app = Starlette(
        routes=[Route(path, take, methods=["POST"]) for path in ("/v1/events", "/webhooks/hubspot")]
    )
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run()


def _sandbox(port: int, home: Path) -> None:
    from ingestion.sandbox.app import serve
    from ingestion.settings import Settings

    serve(Settings(home=home), port)


SERVERS = {"edge": _edge, "bare": _bare, "sandbox": _sandbox}


if __name__ == "__main__":
    main(sys.argv[1:])
