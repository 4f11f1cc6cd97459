"""POST /webhooks/{system}: a signed delivery, verified before anything of it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from types import ModuleType
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion.connectors import catalog
from ingestion.connectors.signature_schemes import Verify
from ingestion.connectors.signed_request import SignedRequest
from ingestion.contracts.instants import parse_instant
from ingestion.contracts.violations import Violation
from ingestion.edge.answers import answer_batch, answer_one, answer_rejected_body
from ingestion.edge.bodies import JSON, read_body
from ingestion.edge.deliveries import Deliveries, Verdict, lag_of
from ingestion.edge.handshakes import answer_handshake
from ingestion.edge.intake import Item, Outcome, take
from ingestion.edge.metrics import Metrics
from ingestion.edge.rate_limits import RateLimits
from ingestion.edge.strict_json import Parsed, read_items
from ingestion.edge.trace import Trace
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.settings import Settings


class Webhooks:
    """The webhook doors of every connector that has one.

    A connector's module has `verify` (or `verifier(settings)`, which makes it) and `to_events`; it
    may have `require_usable`, `MEDIA_TYPES` (how to take apart a body that is no JSON, by media
    type) and `ACKNOWLEDGEMENTS` (what its sender must hear, by media type).
    """

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        clock: Callable[[], datetime],
        known_systems: frozenset[str],
        limits: RateLimits,
        metrics: Metrics,
    ) -> None:
        """SYSTEM_NOT_CONFIGURED when a configured secret cannot be one."""
        self._settings = settings
        self._log = log
        self._clock = clock
        self._known_systems = known_systems
        self._limits = limits
        self._metrics = metrics
        self._modules: Mapping[str, ModuleType] = {
            system: catalog.webhook(system) for system in catalog.systems("webhook")
        }
        self._secrets = {system: settings.webhook_secrets(system) for system in self._modules}
        self._verify: dict[str, Verify] = {}
        for system, module in self._modules.items():
            if hasattr(module, "require_usable"):
                module.require_usable(self._secrets[system])
            made = module.verifier(settings) if hasattr(module, "verifier") else module.verify
            self._verify[system] = made
        self._deliveries = Deliveries(settings.deliveries_path, self._modules, clock)

    @asynccontextmanager
    async def running(self, _app: object) -> AsyncIterator[None]:
        """The application's lifespan: at its end the counts of deliveries are on disk."""
        try:
            yield
        finally:
            await asyncio.to_thread(self._deliveries.close)

    async def post(self, request: Request) -> Response:
        """One signed delivery; nothing of it is read before its signature is found right."""
        system = self._named(request)
        door = request.state.caller = _door(system)
        try:
            answer, verdict = await self._take(request, system)
        except HandoffError as error:
            self._deliveries.record(system, "refused", error.code)
            self._metrics.count_rejection(door, error.code)
            raise
        except Exception:
            self._deliveries.record(system, "refused", "INTERNAL")
            raise
        self._deliveries.record(system, *verdict)
        return answer

    async def options(self, request: Request) -> Response:
        """The handshake of CloudEvents, at a door that is there."""
        self._named(request)
        return answer_handshake(request, self._settings)

    async def health(self, request: Request) -> Response:
        """What has become of a system's deliveries lately."""
        system = self._named(request)
        quarantined = await asyncio.to_thread(self._log.count_quarantine, _door(system))
        told = self._deliveries.health(system, quarantined)
        told["active_secrets"] = len(self._secrets[system])
        return Response(orjson.dumps(told), media_type=JSON)

    def _named(self, request: Request) -> str:
        system: str = request.path_params["system"]
        if system not in self._modules:
            raise HandoffError(
                "NOT_FOUND",
                f"no webhooks are taken from {system!r:.100}; known: {', '.join(self._modules)}",
                remedy="Use /webhooks/ followed by one of the names listed.",
            )
        return system

    async def _take(self, request: Request, system: str) -> tuple[Response, _Recorded]:
        module = self._modules[system]
        body = await read_body(request, self._settings.max_body_bytes)
        now = self._clock()
        asked = signed_request(request, body, self._settings)
        signed_at = self._verify[system](asked, self._secrets[system], now)
        # After the signature: whoever forges deliveries must not use up the sender's limit.
        await self._limits.count("webhooks", system)
        trace: Trace = request.state.trace
        door = _door(system)
        media_type = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            parsed = _taken_apart(module, media_type, body, self._settings.max_batch_items)
        except HandoffError as error:
            self._metrics.count_rejection(door, error.code)
            answer = await answer_rejected_body(self._log, body, error, door, trace)
            return answer, ("refused", error.code, lag_of(now, signed_at, ()))
        items: list[Item] = []
        for item in parsed:
            items += translate(module, item.raw, item.violations, now)
        outcomes = await take(
            self._log, items, door=door, trace=trace, known_systems=self._known_systems, now=now
        )
        self._metrics.count_outcomes(door, items, outcomes)
        recorded = _recorded(outcomes, lag_of(now, signed_at, _instants(items)))
        acknowledgement = getattr(module, "ACKNOWLEDGEMENTS", {}).get(media_type)
        if acknowledgement is not None:
            # What was not accepted is in quarantine: sent again it would not fare better.
            return Response(acknowledgement, media_type=media_type), recorded
        if outcomes and not any(outcome.is_kept for outcome in outcomes):
            return answer_one(outcomes[0], trace), recorded
        return answer_batch(outcomes, trace), recorded


_Recorded = tuple[Verdict, str | None, float | None]


def _door(system: str) -> str:
    """What a delivery came in by, in counts, log lines and the quarantine."""
    return f"webhook:{system}"


def _recorded(outcomes: Sequence[Outcome], lag_seconds: float | None) -> _Recorded:
    lost = [outcome for outcome in outcomes if not outcome.is_kept]
    if not lost:
        return "accepted", None, lag_seconds
    return "partial" if len(lost) < len(outcomes) else "refused", lost[0].error().code, lag_seconds


def _instants(items: Sequence[Item]) -> Iterator[datetime]:
    for item in items:
        with suppress(ValueError):
            yield parse_instant(str((item.event or {}).get("time")))


def _taken_apart(module: ModuleType, media_type: str, body: bytes, most: int) -> list[Parsed]:
    """The items of a body: of JSON unless its system says how another media type is read."""
    split = getattr(module, "MEDIA_TYPES", {}).get(media_type)
    if split is None:
        return read_items(body, most)[0]
    raw: list[bytes] = split(body)
    if len(raw) > most:
        raise HandoffError("PAYLOAD_TOO_LARGE", f"the message holds more than {most} items")
    return [Parsed(item, None, ()) for item in raw]


def signed_request(request: Request, body: bytes, settings: Settings) -> SignedRequest:
    """The delivery as its sender signed it: behind a proxy the address is HANDOFF_EDGE_PUBLIC_URL's."""
    scope = request.scope
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    if settings.edge_public_url:
        base = settings.edge_public_url.rstrip("/")
    else:
        base = f"{scope['scheme']}://{request.headers.get('host', '')}"
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    url = base + path + (f"?{query}" if query else "")
    return SignedRequest(request.method, url, headers, body)


def translate(
    module: ModuleType, raw: bytes, violations: tuple[Violation, ...], now: datetime
) -> list[Item]:
    """The items one delivered thing means, or the reason why it means none."""
    if violations:
        return [Item(raw, None, violations)]
    try:
        events: list[dict[str, Any]] = module.to_events(raw, now)
    except HandoffError as error:
        return [Item(raw, None, (Violation(error.code, error.path or "", error.message),))]
    return [Item(raw, event) for event in events]
