"""One FastAPI app that serves the simulated HubSpot, Salesforce and Google Calendar, their truth
and a switchboard."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.home import require_home
from ingestion.listening import listen
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.sandbox.world import World, build_world

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ingestion.settings import Settings


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def state_file(settings: Settings) -> Path:
    """Where a sandbox of these settings keeps what was written to it."""
    return settings.root / "sandbox" / "state.sqlite"


def stored_anchor(state_path: Path, seed: int) -> datetime | None:
    """The anchor of the world this state file was last opened with for `seed`; None if never."""
    import sqlite3

    if not state_path.exists():
        return None
    connection = sqlite3.connect(state_path)
    try:
        row = connection.execute(
            "select anchor from worlds where seed = ? order by opened desc limit 1", (seed,)
        ).fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return datetime.fromisoformat(row[0]) if row else None


def create_app(
    seed: int,
    anchor: datetime,
    state_path: Path | None = None,
    tokens: Tokens | None = None,
    clock: Callable[[], datetime] = system_clock,
    world: World | None = None,
) -> FastAPI:
    """The sandbox as an ASGI app.

    `state_path` keeps writes over restarts (None: memory only); `clock` stamps them. `world` spares
    the build when the caller has it already. The world and the Salesforce store hang on
    `app.state`.
    """
    import orjson
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, Response

    from ingestion.sandbox.calendar import CalendarApi
    from ingestion.sandbox.hubspot import HubSpotApi
    from ingestion.sandbox.salesforce import SalesforceApi
    from ingestion.sandbox.salesforce_store import SalesforceStore
    from ingestion.sandbox.traffic import Fault, Switchboard, TrafficMiddleware

    held = tokens or Tokens()
    built = world or build_world(seed, anchor)
    store = SalesforceStore(built, state_path, clock)
    switchboard = Switchboard(clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    # The interactive docs load scripts from a CDN; a sandbox stays on the loopback.
    app = FastAPI(
        title="Handoff sandbox", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.world = built
    app.state.store = store
    app.state.switchboard = switchboard

    def answer(content: Any, status: int = 200) -> Response:
        return Response(orjson.dumps(content), status, media_type="application/json")

    async def index(request: Request) -> HTMLResponse:
        return HTMLResponse(_index_page(built, str(request.base_url)))

    @app.get("/truth")
    async def truth() -> Response:
        return answer(
            {
                "seed": built.seed,
                "anchor": built.anchor.isoformat(),
                "people": built.truth,
                "hubspot_merges": built.hubspot_merges,
                "personas": built.personas,
            }
        )

    @app.get("/sandbox/world")
    async def world_facts() -> Response:
        return answer(
            {
                "seed": built.seed,
                "anchor": built.anchor.isoformat(),
                "counts": built.counts(),
                "salesforce_now": store.counts(),
            }
        )

    @app.get("/sandbox/requests")
    async def requests(path_prefix: str = "", after: int = 0) -> Response:
        found = switchboard.requests(path_prefix, after)
        return answer({"count": len(found), "requests": found})

    @app.get("/sandbox/faults")
    async def faults() -> Response:
        return answer([fault.model_dump() for fault in switchboard.faults()])

    async def add_fault(request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValueError as error:
            return answer({"detail": str(error)}, 422)
        switchboard.add_fault(fault)
        return answer(fault.model_dump(), 201)

    @app.post("/sandbox/reset")
    async def reset() -> Response:
        store.reset()
        switchboard.clear()
        return answer({"reset": True})

    # Plain routes: FastAPI cannot resolve annotations of names imported inside a function.
    app.add_route("/", index, methods=["GET"])
    app.add_route("/sandbox/faults", add_fault, methods=["POST"])
    salesforce = SalesforceApi(store, held)
    calendar = CalendarApi(built, held)
    app.include_router(salesforce.router(), prefix="/salesforce")
    # Salesforce's nextRecordsUrl has no host and starts at /services: clients that join it to the
    # bare
    # host, as simple-salesforce does, must arrive too.
    app.include_router(salesforce.router())
    app.include_router(calendar.router(), prefix="/calendar/v3")
    app.include_router(calendar.router(), prefix="/calendar")
    app.include_router(HubSpotApi(built, held).router(), prefix="/hubspot")
    app.add_middleware(TrafficMiddleware, switchboard=switchboard)
    return app


def serve(
    settings: Settings,
    port: int | None = None,
    *,
    host: str = "127.0.0.1",
    seed: int | None = None,
    anchor: datetime | None = None,
    tokens: Tokens | None = None,
    clock: Callable[[], datetime] = system_clock,
    reset: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serves the sandbox until interrupted.

    Without `anchor` the world of the last run is continued; the first run, and one with `reset`,
    ends it at the current hour. State is under `<home>/sandbox/`. `announce` hears the address once
    it is ours. ADDRESS_UNAVAILABLE when it cannot be listened on.
    """
    import uvicorn

    require_home(settings)
    chosen_seed = settings.sandbox_seed if seed is None else seed
    chosen_port = settings.sandbox_port if port is None else port
    # First of all: on a busy port another sandbox may be at work on this state.
    listener = listen(host, chosen_port, "HANDOFF_SANDBOX_PORT")
    if announce is not None:
        announce(f"http://{host}:{listener.getsockname()[1]}")
    path = state_file(settings)
    if reset:
        path.unlink(missing_ok=True)
    hour = clock().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    chosen_anchor = anchor or stored_anchor(path, chosen_seed) or hour
    app = create_app(chosen_seed, chosen_anchor, path, tokens, clock)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with closing(listener), suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _index_page(world: World, base_url: str) -> str:
    """A plain page of what is here: nothing on it comes from another host."""
    counts = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{count}</td></tr>"
        for name, count in world.counts().items()
    )
    variables = "\n".join(
        f"export {name}={value}" for name, value in environment(base_url, world.seed).items()
    )
    links = "".join(
        f'<li><a href="{path}">{path}</a> {html.escape(text)}</li>'
        for path, text in (
            ("/truth", "who is whom, as known to the simulation"),
            ("/sandbox/world", "seed, anchor, counts"),
            ("/sandbox/requests", "calls received so far"),
            (
                "/sandbox/faults",
                "faults waiting (POST one: path_prefix, status, times, after_commit)",
            ),
        )
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Handoff sandbox</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}
td{{padding:0 1rem 0 0}}pre{{background:#f4f4f4;padding:1rem;overflow:auto}}</style></head><body>
<h1>Handoff sandbox</h1>
<p>A simulated company, seed {world.seed}, history up to {world.anchor.isoformat()}:
HubSpot under <code>/hubspot</code>, Salesforce under <code>/salesforce</code>,
Google Calendar under <code>/calendar</code>. Nobody here exists.</p>
<ul>{links}</ul>
<h2>Records</h2><table>{counts}</table>
<h2>Point Handoff here</h2><pre>{html.escape(variables)}</pre>
</body></html>"""
