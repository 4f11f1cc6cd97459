"""What can be made to go wrong, at an endpoint or with a webhook on its way out; how it is done stands
in traffic.py, partial_batch.py and webhook_sender.py."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

REQUEST_KINDS = {
    "status": "answers `status`, with Retry-After where `retry_after` is given",
    "timeout": "no answer: the connection is held `seconds`, then closed",
    "slow": "takes effect, and answers `seconds` late",
    "partial": "every `every`-th row of a batch (of a shorter one the last) fails with `error`",
    "reset": "the connection is reset without an answer",
    "malformed": "takes effect, and answers JSON that breaks off",
}
WEBHOOK_KINDS = {
    "duplicate": "is sent twice",
    "reorder": "waits until another one has overtaken it, `seconds` at most",
    "delay": "is sent `seconds` late",
    "bad_signature": "is signed with a key nobody knows",
    "skew": "is signed as if the clock were `seconds` ahead (negative: behind)",
    "garbled": "is signed as it should be, but its JSON breaks off",
    "missing": "is not sent; a replay brings it",
}
_DEFAULT_SECONDS = {"timeout": 30.0, "slow": 3.0, "reorder": 5.0, "delay": 10.0, "skew": -600.0}


class Fault(BaseModel):
    """A fault of the requests under `path_prefix` (and of `method`, if given).

    It hits the next `times` of them (null: until it is removed), or with `rate` that share of them,
    drawn from the world's seed. `path_prefix` may hold the `{…}` of a known endpoint. `after_commit`
    lets a request take effect before `status`, `timeout` or `reset`, as when a connection breaks
    between the write and its answer. `retry_after` seconds become a Retry-After header.
    """

    model_config = ConfigDict(extra="forbid")

    id: int = 0
    kind: Literal["status", "timeout", "slow", "partial", "reset", "malformed"] = "status"
    path_prefix: str = "/"
    method: str | None = None
    status: int = Field(503, ge=400, le=599)
    times: int | None = Field(1, ge=1)
    rate: float | None = Field(None, gt=0, le=1)
    retry_after: float | None = Field(None, ge=0)
    after_commit: bool = False
    seconds: float | None = Field(None, ge=0, le=3_600)
    every: int = Field(2, ge=1)
    error: str | None = None

    @property
    def pause(self) -> float:
        """Seconds to hold or to be late."""
        return _DEFAULT_SECONDS.get(self.kind, 0.0) if self.seconds is None else self.seconds

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is one of those this fault is for."""
        return self.method in (None, method) and _prefix(self.path_prefix)(path)


class WebhookFault(BaseModel):
    """A fault of outgoing webhooks, of one system or persona where named; `times` and `rate` as in
    Fault."""

    model_config = ConfigDict(extra="forbid")

    id: int = 0
    kind: Literal["duplicate", "reorder", "delay", "bad_signature", "skew", "garbled", "missing"]
    system: str | None = None
    persona: str | None = None
    times: int | None = Field(1, ge=1)
    rate: float | None = Field(None, gt=0, le=1)
    seconds: float | None = Field(None, ge=-86_400, le=86_400)

    @property
    def pause(self) -> float:
        """Seconds of delay, of waiting or of the clock's error."""
        return _DEFAULT_SECONDS.get(self.kind, 0.0) if self.seconds is None else self.seconds

    def covers(self, system: str, persona: str | None) -> bool:
        """Whether a webhook is one of those this fault is for."""
        return self.system in (None, system) and self.persona in (None, persona)


AnyFault = Fault | WebhookFault
_REQUEST: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, Field()])
_WEBHOOK: TypeAdapter[WebhookFault] = TypeAdapter(Annotated[WebhookFault, Field()])


class FaultRefused(ValueError):
    """A fault that cannot be set; the message names the value and what would do."""


def parse_fault(
    asked: Mapping[str, Any],
    endpoints: Iterable[str],
    systems: Iterable[str],
    personas: Iterable[str],
) -> AnyFault:
    """The fault described by a JSON object; FaultRefused says what is wrong with it.

    `endpoints` are the known ones, `systems` and `personas` those that send webhooks.
    """
    kind = asked.get("kind", "status")
    if kind not in REQUEST_KINDS and kind not in WEBHOOK_KINDS:
        known = ", ".join((*REQUEST_KINDS, *WEBHOOK_KINDS))
        raise FaultRefused(f"unknown kind {kind!r:.80}; known: {known}")
    if asked.get("rate") is not None and "times" not in asked:
        asked = {**asked, "times": None}
    try:
        fault: AnyFault
        if kind in REQUEST_KINDS:
            fault = _REQUEST.validate_python(asked)
        else:
            fault = _WEBHOOK.validate_python(asked)
    except ValidationError as error:
        raise FaultRefused("; ".join(_told(problem, kind) for problem in error.errors())) from None
    if isinstance(fault, WebhookFault):
        _require_known("system", fault.system, systems)
        _require_known("persona", fault.persona, personas)
        return fault
    known_paths = sorted(endpoints)
    if not any(_overlap(fault.path_prefix, known) for known in known_paths):
        mounts = ", ".join(sorted({"/" + path.split("/")[1] for path in known_paths}))
        raise FaultRefused(
            f"path_prefix {fault.path_prefix!r:.120} is no endpoint here; they begin with {mounts}, "
            "and GET /sandbox/endpoints lists them"
        )
    return fault


def _require_known(field: str, value: str | None, known: Iterable[str]) -> None:
    names = sorted(known)
    if value is not None and value not in names:
        raise FaultRefused(f"unknown {field} {value!r:.80}; known: {', '.join(names)}")


def _told(problem: Any, kind: str) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "the fault"
    if problem["type"] == "extra_forbidden":
        model: type[BaseModel] = Fault if kind in REQUEST_KINDS else WebhookFault
        fields = ", ".join(name for name in model.model_fields if name != "id")
        return f"{field}: no such field of a fault of kind {kind!r}; known: {fields}"
    return f"{field}: {problem['input']!r:.80} will not do: {problem['msg']}"


def _overlap(prefix: str, known: str) -> bool:
    """Whether an address under `prefix` can be one of `known`, either being a template."""
    wanted, there = prefix.split("/"), known.split("/")
    for asked, part in zip(wanted, there, strict=False):
        if part.endswith(":path}"):
            return True
        last = asked is wanted[-1] and len(wanted) <= len(there)
        same = part.startswith(asked) if last else part == asked
        if not same and "{" not in part and "{" not in asked:
            return False
    return len(wanted) <= len(there) or there[-1].endswith(":path}") or there == [""]


_PREFIXES: dict[str, Callable[[str], bool]] = {}


def _prefix(template: str) -> Callable[[str], bool]:
    if "{" not in template:
        return lambda path: path.startswith(template)
    found = _PREFIXES.get(template)
    if found is None:
        pattern = "".join(
            part if not part.startswith("{") else ".+" if part.endswith(":path}") else "[^/]+"
            for part in (
                piece if piece.startswith("{") else re.escape(piece)
                for piece in re.split(r"(\{[^}]*\})", template)
            )
        )
        # A template names one endpoint: what goes on below it is another.
        matches = re.compile(pattern + "/?").fullmatch
        found = _PREFIXES[template] = lambda path: matches(path) is not None
    return found


class FaultList:
    """Faults waiting, in the order they were set; used up by those they hit."""

    def __init__(self, seed: int) -> None:
        """`seed` decides which of the covered ones a `rate` hits."""
        self._seed = seed
        self._lock = threading.Lock()
        self._faults: list[AnyFault] = []
        self._draws: dict[int, Random] = {}
        self._count = 0

    def add(self, fault: AnyFault) -> AnyFault:
        """The fault with its id."""
        with self._lock:
            self._count += 1
            numbered = fault.model_copy(update={"id": self._count})
            self._faults.append(numbered)
            self._draws[self._count] = Random(f"{self._seed}|fault|{self._count}")
            return numbered

    def remove(self, fault_id: int) -> bool:
        """Whether it was there."""
        with self._lock:
            before = len(self._faults)
            self._faults = [fault for fault in self._faults if fault.id != fault_id]
            return len(self._faults) < before

    def clear(self) -> None:
        """Forget all; numbering begins anew, so that a reset sandbox draws the same again."""
        with self._lock:
            self._faults.clear()
            self._draws.clear()
            self._count = 0

    def all(self) -> list[AnyFault]:
        """Those not used up yet."""
        with self._lock:
            return list(self._faults)

    def for_request(self, method: str, path: str, is_batch: bool) -> Fault | None:
        """The fault a request meets; one of kind `partial` waits for a batch."""
        found = self._take(
            lambda fault: (
                isinstance(fault, Fault)
                and fault.covers(method, path)
                and (is_batch or fault.kind != "partial")
            )
        )
        assert found is None or isinstance(found, Fault)
        return found

    def for_webhook(
        self, system: str, persona: str | None, kinds: Iterable[str]
    ) -> WebhookFault | None:
        """The fault of one of `kinds` that a webhook meets."""
        wanted = frozenset(kinds)
        found = self._take(
            lambda fault: (
                isinstance(fault, WebhookFault)
                and fault.kind in wanted
                and fault.covers(system, persona)
            )
        )
        assert found is None or isinstance(found, WebhookFault)
        return found

    def _take(self, covers: Callable[[AnyFault], bool]) -> AnyFault | None:
        with self._lock:
            for place, fault in enumerate(self._faults):
                if not covers(fault):
                    continue
                if fault.rate is not None and self._draws[fault.id].random() >= fault.rate:
                    continue
                if fault.times == 1:
                    del self._faults[place]
                elif fault.times is not None:
                    self._faults[place] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None
