"""Sends the outbox's webhooks to the edge, in a thread of its own: signs, waits, tries again, and
breaks what a fault is waiting for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingestion.sandbox.faults import FaultList
from ingestion.sandbox.webhook_formats import FORMATS, Message
from ingestion.sandbox.webhook_outbox import Attempt, Delivery, Outbox

# Seconds from one attempt to the next; Standard Webhooks suggests longer ones, for people's patience.
RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 1_800.0)
LONGEST_RETRY_AFTER = 3_600.0
TIMEOUT_SECONDS = 15.0
# Faults of a delivery as a whole, looked for once; the others meet every attempt.
_ON_THE_WAY = ("missing", "delay", "reorder")
_IN_THE_ACT = ("duplicate", "bad_signature", "skew", "garbled")


@dataclass(frozen=True, slots=True)
class Edge:
    """Where webhooks go: `url` is called, `signed_url` is what the edge calls itself (HubSpot signs
    it), `secrets` by system."""

    url: str
    secrets: Mapping[str, str]
    signed_url: str | None = None

    def address(self, system: str) -> str:
        """Where deliveries of a system are posted."""
        return f"{self.url.rstrip('/')}/webhooks/{system}"

    def signed_address(self, system: str) -> str:
        """The same address as it is signed."""
        return f"{(self.signed_url or self.url).rstrip('/')}/webhooks/{system}"


class Sender:
    """Takes deliveries from the outbox when they are due; one at a time, in the order they are due."""

    def __init__(
        self,
        outbox: Outbox,
        faults: FaultList,
        edge: Edge,
        clock: Callable[[], datetime],
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """Nothing is sent before `start`."""
        self.outbox = outbox
        self.edge = edge
        self._faults = faults
        self._clock = clock
        self._retry_seconds = tuple(retry_seconds)
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        # Deliveries that wait to be overtaken, those whose way has been looked at, and by which
        # fault those that wait are late.
        self._overtaken: set[int] = set()
        self._on_the_way: set[int] = set()
        self._delayed_by: dict[int, str] = {}

    def start(self) -> None:
        """Begins to send."""
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the attempt under way; what is queued stays so."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=TIMEOUT_SECONDS + 5)
            self._thread = None

    def send(
        self, message_id: str, system: str, persona: str | None, action: str, kind: str, body: bytes
    ) -> Delivery:
        """Queues a new webhook."""
        now = self._clock()
        delivery = self.outbox.add(message_id, system, persona, action, kind, body, now, now)
        self._notify()
        return delivery

    def replay(self, deliveries: Sequence[Delivery]) -> None:
        """Queues deliveries again, in their order: same id, a fresh signature."""
        now = self._clock()
        for place, delivery in enumerate(deliveries):
            self._on_the_way.discard(delivery.number)
            self.outbox.queue_again(delivery.number, now + timedelta(microseconds=place))
        self._notify()

    def forget(self) -> None:
        """Forgets all that was or is to be sent."""
        self.outbox.clear()
        self._overtaken.clear()
        self._on_the_way.clear()
        self._delayed_by.clear()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()

    # ---- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        import httpx

        with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            while True:
                with self._wake:
                    delivery = self._due()
                    if self._stopping:
                        return
                    if delivery is None:
                        continue
                try:
                    self._handle(http, delivery)
                except (
                    Exception
                ) as problem:  # What is wrong with one must not end the sending of all.
                    now, address = self._clock(), self.edge.address(delivery.system)
                    told = f"{type(problem).__name__}: {problem}"
                    self.outbox.record(
                        delivery, Attempt(now, address, {}, None, None, told, ()), "failed"
                    )

    def _due(self) -> Delivery | None:
        """The next delivery if it is due; waits otherwise, until something changes."""
        delivery = self.outbox.next_due()
        if delivery is None:
            self._wake.wait(timeout=5.0)
            return None
        wait = (datetime.fromisoformat(delivery.due_at) - self._clock()).total_seconds()
        if wait > 0:
            self._wake.wait(timeout=min(wait, 5.0))
            return None
        return delivery

    def _handle(self, http: Any, delivery: Delivery) -> None:
        now = self._clock()
        if delivery.number not in self._on_the_way:
            self._on_the_way.add(delivery.number)
            fault = self._faults.for_webhook(delivery.system, delivery.persona, _ON_THE_WAY)
            if fault is not None and fault.kind == "missing":
                address = self.edge.address(delivery.system)
                kept = Attempt(now, address, {}, None, None, "kept back", ("missing",))
                self.outbox.record(delivery, kept, "withheld")
                return
            if fault is not None:
                if fault.kind == "reorder":
                    self._overtaken.add(delivery.number)
                self.outbox.put_off(delivery.number, now + timedelta(seconds=abs(fault.pause)))
                self._delayed_by[delivery.number] = fault.kind
                return
        waited = self._delayed_by.pop(delivery.number, None)
        self._overtaken.discard(delivery.number)
        self._attempt(http, delivery, (waited,) if waited else ())
        for number in sorted(self._overtaken):
            self.outbox.put_off(number, self._clock())
        self._overtaken.clear()

    def _attempt(self, http: Any, delivery: Delivery, faults: tuple[str, ...]) -> None:
        fault = self._faults.for_webhook(delivery.system, delivery.persona, _IN_THE_ACT)
        if fault is not None:
            faults = (*faults, fault.kind)
        kind = fault.kind if fault is not None else None
        skew = fault.pause if fault is not None and kind == "skew" else 0.0
        for _ in range(2 if kind == "duplicate" else 1):
            self._post(http, delivery, faults, kind, skew)

    def _post(
        self,
        http: Any,
        delivery: Delivery,
        faults: tuple[str, ...],
        kind: str | None,
        skew: float,
    ) -> None:
        import httpx

        now = self._clock()
        body, headers = self._signed(delivery, now + timedelta(seconds=skew), kind)
        address = self.edge.address(delivery.system)
        status: int | None = None
        answer: str | None = None
        error: str | None = None
        retry_after: str | None = None
        try:
            response = http.post(address, content=body, headers=headers)
            status, answer = response.status_code, response.text
            retry_after = response.headers.get("retry-after")
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            error = f"{type(problem).__name__}: {problem}"
        attempt = Attempt(now, address, headers, status, answer, error, faults)
        if status is not None and 200 <= status < 300:
            self.outbox.record(delivery, attempt, "delivered")
        elif status is not None and 400 <= status < 500 and status not in (408, 425, 429):
            self.outbox.record(delivery, attempt, "refused")
        elif delivery.tries >= len(self._retry_seconds):
            self.outbox.record(delivery, attempt, "failed")
        else:
            pause = _pause(retry_after, self._retry_seconds[delivery.tries])
            self.outbox.record(delivery, attempt, "queued", now + timedelta(seconds=pause))

    def _signed(
        self, delivery: Delivery, signed_at: datetime, kind: str | None
    ) -> tuple[bytes, dict[str, str]]:
        """The body of this attempt, and its headers; `kind` is the fault it meets."""
        form = FORMATS[delivery.system]
        attempt = len(self.outbox.attempts(delivery.number)) + 1
        body = form.body_of(delivery.body, attempt)
        if kind == "garbled":
            body = body.decode()[: len(body) // 2].encode()
        secret = self.edge.secrets[delivery.system]
        if kind == "bad_signature":
            # Of the same make, so that only the signature is wrong.
            secret = _other_secret(secret)
        message = Message(
            delivery.id, self.edge.signed_address(delivery.system), body, attempt, signed_at
        )
        return body, {
            "content-type": "application/json",
            "user-agent": "handoff-sandbox",
            **form.sign(message, secret),
        }


def _pause(retry_after: str | None, usual: float) -> float:
    """Retry-After in seconds counts where it asks for more than the sender would wait anyway."""
    try:
        asked = float(retry_after or 0)
    except ValueError:
        asked = 0.0
    return min(max(asked, usual), LONGEST_RETRY_AFTER)


def _other_secret(secret: str) -> str:
    import base64

    other = hashlib.sha256(secret.encode()).digest()[:24]
    if secret.startswith("whsec_"):
        return "whsec_" + base64.b64encode(other).decode("ascii")
    return other.hex()
