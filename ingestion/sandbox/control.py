"""The sandbox's own routes, /truth and /sandbox/…: what is here, faults, personas, webhooks; the page
that shows them is drawn in page.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ingestion.sandbox.acts import ACTIONS, ActRefused, Acts
from ingestion.sandbox.control_input import (
    Refused,
    fields_of,
    instant_of,
    minutes_of,
    require_own_page,
    wants_page,
)
from ingestion.sandbox.faults import (
    REQUEST_KINDS,
    WEBHOOK_KINDS,
    FaultRefused,
    parse_fault,
)
from ingestion.sandbox.page import Shown, live_part, page
from ingestion.sandbox.personas import PERSONAS, Persona
from ingestion.sandbox.salesforce_store import SalesforceStore
from ingestion.sandbox.traffic import OWN_PATHS, Switchboard
from ingestion.sandbox.webhook_formats import FORMATS
from ingestion.sandbox.webhook_outbox import STATES, Delivery
from ingestion.sandbox.webhook_sender import Sender
from ingestion.sandbox.world import World

# What the page shows of either log.
ROWS_SHOWN = 60
# What webhooks are chosen by.
FILTERS = ("ids", "from", "to", "persona", "system", "state")
# Salesforce's API is one route of ours; these are the endpoints behind it that faults are set for.
SALESFORCE_ENDPOINTS = (
    "/query",
    "/queryAll",
    "/limits",
    "/sobjects/{object}/describe",
    "/sobjects/{object}",
    "/sobjects/{object}/{id}",
    "/sobjects/{object}/{field}/{value}",
    "/composite/sobjects",
    "/composite/sobjects/{object}",
    "/composite/sobjects/{object}/{field}",
)

Handler = Callable[[Request], Awaitable[Response]]


class Control:
    """Routes over the parts of one sandbox."""

    def __init__(
        self,
        world: World,
        store: SalesforceStore,
        switchboard: Switchboard,
        sender: Sender,
        acts: Acts,
        clock: Callable[[], datetime],
    ) -> None:
        """`world` is the one that acts change."""
        self.world = world
        self.store = store
        self.switchboard = switchboard
        self.sender = sender
        self.acts = acts
        self.clock = clock
        self.endpoints: list[str] = []
        self._fault_paths: list[str] = []
        self._resets: list[Callable[[], None]] = [
            store.reset, acts.reset, sender.forget, switchboard.clear
        ]  # fmt: skip

    def also_reset(self, reset: Callable[[], None]) -> None:
        """Lets POST /sandbox/reset reset one more thing, such as a further system's records."""
        self._resets.append(reset)

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        for path, method, handler in (
            ("/", "GET", self.index),
            ("/truth", "GET", self.truth),
            ("/sandbox/live", "GET", self.live),
            ("/sandbox/world", "GET", self.world_facts),
            ("/sandbox/endpoints", "GET", self.known_endpoints),
            ("/sandbox/requests", "GET", self.requests),
            ("/sandbox/faults", "GET", self.faults),
            ("/sandbox/faults", "POST", self.add_fault),
            ("/sandbox/faults", "DELETE", self.remove_faults),
            ("/sandbox/faults/{fault_id}", "DELETE", self.remove_fault),
            # A form of a page can only GET and POST.
            ("/sandbox/faults/{fault_id}/remove", "POST", self.remove_fault),
            ("/sandbox/personas", "GET", self.personas),
            ("/sandbox/personas/{name}", "GET", self.one_persona),
            ("/sandbox/personas/{name}/act", "POST", self.act),
            ("/sandbox/webhooks", "GET", self.webhooks),
            ("/sandbox/webhooks/replay", "POST", self.replay),
            ("/sandbox/webhooks/{message_id}", "GET", self.one_webhook),
            ("/sandbox/reset", "POST", self.reset),
        ):
            router.add_route(path, self._guarded(handler), methods=[method])
        return router

    def learn_endpoints(self, paths: Iterable[str]) -> None:
        """Which addresses exist, once every system is mounted: what faults can be set for."""
        known = {path.rstrip("/") for path in paths}
        known = {path for path in known if path and not path.startswith(OWN_PATHS)}
        data = "/salesforce/services/data/{version}"
        listed = known | {data + path for path in SALESFORCE_ENDPOINTS}
        self.endpoints = sorted(
            path
            for path in listed
            if "{path:path}" not in path and not path.startswith("/services")
        )
        # A system's answer to what it does not know is no endpoint; one route for many is.
        self._fault_paths = [
            path for path in listed if path.count("/") > 2 or "{path:path}" not in path
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                if request.method != "GET":
                    require_own_page(request)
                return await handler(request)
            except Refused as error:
                refusal = error
            except ActRefused as error:
                refusal = Refused(str(error), 404 if error.is_unknown else 422)
            except FaultRefused as error:
                refusal = Refused(str(error))
            if wants_page(request):
                return await self._page(request, str(refusal), refusal.status)
            return _json({"detail": str(refusal)}, refusal.status)

        return guarded

    # ---- what is here ---------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """The page."""
        return await self._page(request)

    async def live(self, request: Request) -> Response:
        """The parts of the page that change by themselves."""
        return HTMLResponse(live_part(self._shown(request)))

    async def _page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        return HTMLResponse(page(self._shown(request, problem)), status)

    def _shown(self, request: Request, problem: str = "") -> Shown:
        query = request.query_params
        wanted = {
            name: query.get(name, "") for name in ("persona", "system", "state", "since", "fault")
        }
        since = minutes_of(wanted["since"])
        after = None if since is None else self.clock() - timedelta(minutes=since)
        requests = [
            row
            for row in self.switchboard.requests()
            if wanted["system"] in ("", row["system"])
            and (after is None or datetime.fromisoformat(row["at"]) >= after)
            and (wanted["fault"] != "yes" or row["is_fault"])
        ]
        webhooks = self.sender.outbox.find(
            since=after,
            persona=wanted["persona"] or None,
            system=wanted["system"] or None,
            state=wanted["state"] or None,
        )
        systems = {path.split("/")[1] for path in self.endpoints} | set(FORMATS)
        return Shown(
            base_url=str(request.base_url),
            seed=self.world.seed,
            anchor=self.world.anchor,
            counts=self.world.counts(),
            personas=[self._told(each) for each in PERSONAS],
            actions=ACTIONS,
            faults=[fault.model_dump() for fault in self.switchboard.faults.all()],
            endpoints=self.endpoints,
            requests=requests[-ROWS_SHOWN:],
            request_count=len(requests),
            webhooks=[self.sender.outbox.shown(row) for row in webhooks[-ROWS_SHOWN:]],
            webhook_count=len(webhooks),
            webhook_states=Counter(row.state for row in webhooks),
            replay={
                "from": webhooks[0].created_at if webhooks else "",
                "persona": wanted["persona"],
                "system": wanted["system"],
                "state": wanted["state"],
            },
            edge_url=self.sender.edge.url,
            systems=sorted(systems),
            filters=wanted,
            problem=problem,
            said=query.get("said", ""),
        )

    async def truth(self, request: Request) -> Response:
        """Who is whom, as known to the simulation."""
        return _json(
            {
                "seed": self.world.seed,
                "anchor": self.world.anchor.isoformat(),
                "people": self.world.truth,
                "hubspot_merges": self.world.hubspot_merges,
                "personas": self.world.personas,
            }
        )

    async def world_facts(self, request: Request) -> Response:
        """Seed, anchor and counts."""
        return _json(
            {
                "seed": self.world.seed,
                "anchor": self.world.anchor.isoformat(),
                "counts": self.world.counts(),
                "salesforce_now": self.store.counts(),
                "edge_url": self.sender.edge.url,
                "webhooks": self.sender.outbox.counts(),
            }
        )

    async def requests(self, request: Request) -> Response:
        """Calls received so far."""
        after = request.query_params.get("after", "0")
        if not after.isdigit():
            raise Refused(f"after {after!r:.40} is no number of a request; give 0 or one seen here")
        found = self.switchboard.requests(request.query_params.get("path_prefix", ""), int(after))
        system = request.query_params.get("system")
        if system:
            found = [row for row in found if row["system"] == system]
        return _json({"count": len(found), "requests": found})

    async def reset(self, request: Request) -> Response:
        """The world as it was built, nothing received, nothing sent."""
        for each in self._resets:
            each()
        return _done(request, {"reset": True}, "everything is as it was built")

    # ---- faults ---------------------------------------------------------------------------------

    async def known_endpoints(self, request: Request) -> Response:
        """What faults can be set for, and of which kinds."""
        return _json(
            {
                "endpoints": self.endpoints,
                "request_kinds": REQUEST_KINDS,
                "webhook_kinds": WEBHOOK_KINDS,
                "webhook_systems": {name: each.scheme for name, each in FORMATS.items()},
            }
        )

    async def faults(self, request: Request) -> Response:
        """Faults not used up yet."""
        return _json([fault.model_dump() for fault in self.switchboard.faults.all()])

    async def add_fault(self, request: Request) -> Response:
        """Sets one."""
        asked = await fields_of(request)
        asked.pop("id", None)
        names = [each.name for each in PERSONAS]
        fault = parse_fault(asked, self._fault_paths, FORMATS, names)
        added = self.switchboard.faults.add(fault)
        return _done(request, added.model_dump(), f"fault {added.id} is set", 201, "faults")

    async def remove_fault(self, request: Request) -> Response:
        """Takes one away."""
        given = request.path_params["fault_id"]
        if not given.isdigit() or not self.switchboard.faults.remove(int(given)):
            known = ", ".join(str(fault.id) for fault in self.switchboard.faults.all()) or "none"
            raise Refused(f"no fault {given!r:.40} is waiting; waiting: {known}", 404)
        return _done(request, {"removed": int(given)}, f"fault {given} is removed", 200, "faults")

    async def remove_faults(self, request: Request) -> Response:
        """Takes all away."""
        count = len(self.switchboard.faults.all())
        for fault in self.switchboard.faults.all():
            self.switchboard.faults.remove(fault.id)
        return _json({"removed": count})

    # ---- personas -------------------------------------------------------------------------------

    async def personas(self, request: Request) -> Response:
        """Everybody with a name, and what they can be made to do."""
        return _json(
            {
                "personas": [self._told(each) for each in PERSONAS],
                "actions": {
                    name: {
                        "label": action.label,
                        "does": action.does,
                        "option": action.option or None,
                        "choices": list(action.choices),
                    }
                    for name, action in ACTIONS.items()
                },
            }
        )

    async def one_persona(self, request: Request) -> Response:
        """One of them, with records, acts and webhooks so far."""
        name = request.path_params["name"]
        each = next((each for each in PERSONAS if each.name == name), None)
        if each is None:
            known = ", ".join(each.name for each in PERSONAS)
            raise Refused(f"unknown persona {name!r:.80}; known: {known}", 404)
        outbox = self.sender.outbox
        return _json(
            self._told(each)
            | {
                "contacts": self.acts.stage.contacts_of(each.person),
                "history": self.acts.history(name),
                "webhooks": [outbox.shown(row) for row in outbox.find(persona=name)],
            }
        )

    def _told(self, each: Persona) -> dict[str, Any]:
        entry = next(row for row in self.world.truth if row["person"] == each.person.key)
        return each.as_dict() | {
            "records": entry["records"],
            "act_count": len(self.acts.history(each.name)),
        }

    async def act(self, request: Request) -> Response:
        """Lets a persona do something."""
        asked = await fields_of(request)
        action = asked.pop("action", None)
        if not isinstance(action, str):
            raise Refused(f"action: one of {', '.join(ACTIONS)} is needed")
        name = request.path_params["name"]
        done = self.acts.act(name, action, {key: value for key, value in asked.items() if value})
        told = "; ".join(done["changes"]) or f"{len(done['webhooks'])} webhook queued"
        return _done(request, done, f"{name}: {action}: {told}", 201, "people")

    # ---- webhooks -------------------------------------------------------------------------------

    async def webhooks(self, request: Request) -> Response:
        """Webhooks sent or to be sent, oldest first; filters as in `replay`, and `after`."""
        query = dict(request.query_params)
        after = query.pop("after", "0")
        if not after.isdigit():
            raise Refused(f"after {after!r:.40} is no number of a webhook; give 0 or one seen here")
        found = self._chosen(query, int(after))
        shown = [self.sender.outbox.shown(row) for row in found]
        return _json({"count": len(shown), "states": STATES, "webhooks": shown})

    async def one_webhook(self, request: Request) -> Response:
        """One, with its body and every attempt."""
        message_id = request.path_params["message_id"]
        found = self.sender.outbox.find(ids=[message_id])
        if not found:
            raise Refused(f"no webhook {message_id!r:.80}; GET /sandbox/webhooks lists them", 404)
        return _json(self.sender.outbox.shown(found[0], whole=True))

    async def replay(self, request: Request) -> Response:
        """Sends webhooks again: by `ids`, `from` and `to`, `persona`, `system`, `state`; all that is
        given must fit."""
        asked = await fields_of(request)
        found = self._chosen(asked)
        if not any(asked.get(name) for name in FILTERS):
            raise Refused("name what to replay: ids, from and to, persona, system, or state")
        if not found:
            raise Refused("nothing was sent that fits; GET /sandbox/webhooks lists what was", 404)
        self.sender.replay(found)
        ids = [row.id for row in found]
        told = f"{len(ids)} webhook{'s' if len(ids) != 1 else ''} queued again"
        return _done(request, {"count": len(ids), "ids": ids}, told, 202, "webhooks")

    def _chosen(self, asked: Mapping[str, Any], after: int = 0) -> list[Delivery]:
        strange = sorted(set(asked) - set(FILTERS))
        if strange:
            raise Refused(f"unknown filter {strange[0]!r:.80}; known: {', '.join(FILTERS)}")
        ids = asked.get("ids") or None
        if isinstance(ids, str):
            ids = [part.strip() for part in ids.split(",") if part.strip()]
        if ids is not None and not all(isinstance(each, str) for each in ids):
            raise Refused(f"ids {ids!r:.80} must be a list of webhook ids")
        people = [each.name for each in PERSONAS]
        names = {"persona": people, "system": list(FORMATS), "state": list(STATES)}
        for field, known in names.items():
            if asked.get(field) and asked[field] not in known:
                raise Refused(f"unknown {field} {asked[field]!r:.80}; known: {', '.join(known)}")
        found = self.sender.outbox.find(
            ids=ids,
            since=instant_of("from", asked.get("from")),
            until=instant_of("to", asked.get("to")),
            persona=asked.get("persona") or None,
            system=asked.get("system") or None,
            state=asked.get("state") or None,
            after=after,
        )
        missing = sorted(set(ids or ()) - {row.id for row in found})
        if missing and len(asked) == 1:
            raise Refused(f"no webhook {missing[0]!r:.80}; GET /sandbox/webhooks lists them", 404)
        return found


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _done(request: Request, content: Any, said: str, status: int = 200, part: str = "") -> Response:
    """The answer to a program, or for a form the way back to the page."""
    if not wants_page(request):
        return _json(content, status)
    return RedirectResponse(f"/?{urlencode({'said': said})}#{part}", 303)
