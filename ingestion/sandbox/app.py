"""One FastAPI app that serves the simulated HubSpot, Marketo, Salesforce, Google Calendar, Calendly,
Cal.com and ad spend, their truth and a switchboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.home import require_home
from ingestion.listening import listen
from ingestion.sandbox.credentials import Tokens, webhook_secrets
from ingestion.sandbox.world import World, build_world

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ingestion.sandbox.webhook_sender import Edge
    from ingestion.settings import Settings

DEFAULT_EDGE_URL = "http://127.0.0.1:8321"
STOP_SECONDS = 3


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


def edge_of(settings: Settings, seed: int, url: str | None = None) -> Edge:
    """Where webhooks go: the edge of these settings, or `url`.

    They are signed with the first secret that is set for a system, as the edge would take it, and
    with the sandbox's own where none is.
    """
    from ingestion.sandbox.webhook_sender import Edge

    secrets = webhook_secrets(seed)
    for system in secrets:
        given = settings.webhook_secrets(system)
        secrets[system] = given[0] if given else secrets[system]
    here = "127.0.0.1" if settings.edge_host in ("0.0.0.0", "::") else settings.edge_host
    target = url or f"http://{here}:{settings.edge_port}"
    return Edge(target, secrets, settings.edge_public_url)


def create_app(
    seed: int,
    anchor: datetime,
    state_path: Path | None = None,
    tokens: Tokens | None = None,
    clock: Callable[[], datetime] = system_clock,
    world: World | None = None,
    edge: Edge | None = None,
) -> FastAPI:
    """The sandbox as an ASGI app.

    `state_path` keeps writes over restarts (None: memory only); `clock` stamps them. `world` spares
    the build when the caller has it already. `edge` is where personas' webhooks go. The world, the
    Salesforce store and its API hang on `app.state`.
    """
    from fastapi import FastAPI, routing

    from ingestion.sandbox.acts import Acts
    from ingestion.sandbox.ad_spend import AdSpendSheet
    from ingestion.sandbox.calcom import CalcomApi
    from ingestion.sandbox.calendar import CalendarApi
    from ingestion.sandbox.calendar_store import CalendarStore
    from ingestion.sandbox.calendly import CalendlyApi
    from ingestion.sandbox.control import Control
    from ingestion.sandbox.hubspot import HubSpotApi
    from ingestion.sandbox.marketo import MarketoApi
    from ingestion.sandbox.marketo_store import MarketoStore
    from ingestion.sandbox.salesforce import SalesforceApi
    from ingestion.sandbox.salesforce_store import SalesforceStore
    from ingestion.sandbox.stage import Stage
    from ingestion.sandbox.traffic import Switchboard, TrafficMiddleware
    from ingestion.sandbox.webhook_outbox import Outbox
    from ingestion.sandbox.webhook_sender import Edge, Sender

    held = tokens or Tokens()
    stage = Stage(world or build_world(seed, anchor))
    built = stage.world
    store = SalesforceStore(built, state_path, clock)
    switchboard = Switchboard(clock, built.seed)
    world_key = f"{built.seed}|{built.anchor.isoformat()}"
    outbox = Outbox(world_key, state_path)
    target = edge or Edge(DEFAULT_EDGE_URL, webhook_secrets(built.seed))
    sender = Sender(outbox, switchboard.faults, target, clock)
    acts = Acts(stage, sender, world_key, state_path, clock)
    control = Control(built, store, switchboard, sender, acts, clock)
    leads = MarketoStore(built, clock)
    marketo = MarketoApi(leads, held, clock)
    events = CalendarStore(built, state_path, clock)
    control.also_reset(events.reset)
    control.also_reset(leads.reset)
    control.also_reset(marketo.reset)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sender.start()
        yield
        await asyncio.to_thread(sender.stop)
        acts.close()
        outbox.close()
        events.close()
        store.close()

    # The interactive docs load scripts from a CDN; a sandbox stays on the loopback.
    app = FastAPI(
        title="Handoff sandbox", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.world = built
    app.state.store = store
    app.state.switchboard = switchboard
    app.include_router(control.router())

    salesforce = SalesforceApi(store, held, clock)
    app.state.salesforce = salesforce
    calendar = CalendarApi(built, held, events)
    app.include_router(salesforce.router(), prefix="/salesforce")
    # Salesforce's nextRecordsUrl has no host and starts at /services: clients that join it to the
    # bare
    # host, as simple-salesforce does, must arrive too.
    app.include_router(salesforce.router())
    app.include_router(calendar.router(), prefix="/calendar/v3")
    app.include_router(calendar.router(), prefix="/calendar")
    app.include_router(HubSpotApi(built, held).router(), prefix="/hubspot")
    app.include_router(marketo.router(), prefix="/marketo")
    app.include_router(CalendlyApi(built, held).router(), prefix="/calendly")
    app.include_router(CalcomApi(built, held).router(), prefix="/calcom/v2")
    app.include_router(AdSpendSheet(built).router(), prefix="/ad_spend")
    # Newer FastAPI keeps included routers folded up; before, `routes` had every route itself.
    every_route = getattr(routing, "iter_route_contexts", iter)
    paths = (str(getattr(route, "path", "")) for route in every_route(app.routes))
    control.learn_endpoints(paths)
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
    edge_url: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serves the sandbox until interrupted.

    Without `anchor` the world of the last run is continued; the first run, and one with `reset`,
    ends it at the current hour. State is under `<home>/sandbox/`. `announce` hears the address once
    it is ours. Personas' webhooks go to `edge_url`, else to the edge of the settings.
    ADDRESS_UNAVAILABLE when it cannot be listened on.
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
    app = create_app(
        chosen_seed, chosen_anchor, path, tokens, clock,
        edge=edge_of(settings, chosen_seed, edge_url),
    )  # fmt: skip
    # A fault may hold a connection for an hour; stopping does not wait for it.
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_SECONDS
    )
    server = uvicorn.Server(config)
    with closing(listener), suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
