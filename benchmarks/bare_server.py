"""The floor of the edge: `python -m benchmarks.bare_server PORT` reads a body and answers 202."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until terminated, on uvicorn with the edge's own options."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def take(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"accepted"}', status_code=202, media_type="application/json")

    app = Starlette(routes=[Route("/v1/events", take, methods=["POST"])])
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
