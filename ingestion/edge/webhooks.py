"""POST /webhooks/{system}: a signed delivery, verified before anything of it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import ModuleType
from typing import Any

from fastapi import Request
from starlette.responses import Response

from ingestion.connectors import catalog
from ingestion.connectors.signed_request import SignedRequest
from ingestion.contracts.violations import Violation
from ingestion.edge.answers import answer_batch, answer_one, answer_rejected_body
from ingestion.edge.bodies import read_body
from ingestion.edge.intake import Item, take
from ingestion.edge.metrics import Metrics
from ingestion.edge.rate_limits import RateLimits
from ingestion.edge.strict_json import read_items
from ingestion.edge.trace import Trace
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.settings import Settings


class Webhooks:
    """The webhook doors of every connector that has one."""

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
        for system, module in self._modules.items():
            if hasattr(module, "require_usable"):
                module.require_usable(self._secrets[system])

    async def post(self, request: Request) -> Response:
        """One signed delivery; nothing of it is read before its signature is found right."""
        system: str = request.path_params["system"]
        module = self._modules.get(system)
        if module is None:
            raise HandoffError(
                "NOT_FOUND",
                f"no webhooks are taken from {system!r:.100}; known: {', '.join(self._modules)}",
                remedy="Send to /webhooks/ followed by one of the names listed.",
            )
        door = f"webhook:{system}"
        request.state.caller = door
        body = await read_body(request, self._settings.max_body_bytes)
        now = self._clock()
        try:
            module.verify(signed_request(request, body, self._settings), self._secrets[system], now)
        except HandoffError as error:
            self._metrics.count_rejection(door, error.code)
            raise
        # After the signature: whoever forges deliveries must not use up the sender's limit.
        await self._limits.spend("webhooks", system)
        trace: Trace = request.state.trace
        try:
            parsed, _ = read_items(body, self._settings.max_batch_items)
        except HandoffError as error:
            self._metrics.count_rejection(door, error.code)
            return await answer_rejected_body(self._log, body, error, door, trace)
        items: list[Item] = []
        for item in parsed:
            items += _translate(module, item.raw, item.violations, now)
        outcomes = await take(
            self._log, items, door=door, trace=trace, known_systems=self._known_systems
        )
        self._metrics.count_outcomes(door, items, outcomes)
        if outcomes and not any(outcome.is_kept for outcome in outcomes):
            return answer_one(outcomes[0], trace)
        return answer_batch(outcomes, trace)


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
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    url = base + path + (f"?{query}" if query else "")
    return SignedRequest(request.method, url, headers, body)


def _translate(
    module: ModuleType, raw: bytes, violations: tuple[Violation, ...], now: datetime
) -> list[Item]:
    if violations:
        return [Item(raw, None, violations)]
    try:
        events: list[dict[str, Any]] = module.to_events(raw, now)
    except HandoffError as error:
        return [Item(raw, None, (Violation(error.code, error.path or "", error.message),))]
    return [Item(raw, event) for event in events]
