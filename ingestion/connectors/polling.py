"""One HTTP session for polling: retries, Retry-After and error codes alike for every source; no
system is known here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar
from urllib.parse import urlsplit

import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

Answer = TypeVar("Answer")

ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 60.0
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# RFC 9110 calls 408, 425, 429 and these 5xx worth repeating; 477 is HubSpot moving an account.
RETRIED = frozenset({408, 425, 429, 477, 500, 502, 503, 504, 521, 522, 523, 524})


class UpstreamRefusal(HandoffError):
    """An answer other than 2xx that no repeating helps; `status` is the HTTP status."""

    def __init__(self, code: str, message: str, status: int) -> None:
        """Keep the HTTP status beside what every error has."""
        super().__init__(code, message)
        self.status = status


class Again(Exception):
    """An answer worth waiting for: `wait` is what Retry-After asked for, in seconds, None when it
    asked nothing."""

    def __init__(self, error: HandoffError, wait: float | None) -> None:
        """Keep what to say when it is given up."""
        super().__init__(error.message)
        self.error = error
        self.wait = wait


class Limits(Protocol):
    """What a system allows its callers, asked before each request and told of each answer."""

    def wait_seconds(self, path: str) -> float:
        """How long the next request to `path` has to wait; it counts as sent after that."""
        ...

    def note(self, response: httpx.Response) -> None:
        """Learn from an answer how much is left."""
        ...

    def final(self, response: httpx.Response) -> HandoffError | None:
        """The error when an answer that would be repeated otherwise says that it is of no use."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal that came as an answer of 200: `error` says it in our terms; it is worth repeating
    when `is_retried`, after `wait` seconds where that is known."""

    error: HandoffError
    is_retried: bool = False
    wait: float | None = None


# Reads what an answer of 200 says: None when it is what was asked for.
Judge = Callable[[Any], Refused | None]


class Session:
    """GET and POST of JSON against one base address, each repeated until it is answered or given
    up."""

    def __init__(
        self,
        system: str,
        client: httpx.Client,
        sleep: Callable[[float], None] = time.sleep,
        *,
        limits: Limits | None = None,
        judge: Judge | None = None,
    ) -> None:
        """Take over an open client; `sleep` waits between attempts, and where `limits` ask for it;
        `judge` finds refusals among answers of 200."""
        self.system = system
        self.client = client
        self.sleep = sleep
        self.limits = limits
        self.judge = judge
        # Where a system without Retry-After says in how many seconds it answers again.
        self.reset_header: str | None = None
        # Where a system tells its limits with a status that says something else.
        self.is_limit: Callable[[httpx.Response], bool] = lambda response: False

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON answer to a GET."""
        return self.request("GET", path, params=params)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer; HandoffError AUTH_EXPIRED, SCOPE_DENIED, RATE_LIMITED, UPSTREAM_*
        otherwise."""
        return self._repeated(self._document, method, path, options)

    def answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer with its headers, for what is no JSON; errors are those of `request`."""

        def whole(_: str, response: httpx.Response) -> httpx.Response:
            response.read()
            return response

        return self._repeated(whole, method, path, options)

    def content(self, path: str) -> bytes:
        """The answer to a GET as it came, for what is no JSON; errors are those of `request`."""
        return self.answer("GET", path).content

    def download(self, path: str, into: BinaryIO) -> None:
        """Write the answer to a GET as it comes, however long it is; errors are those of `request`.

        `into` is emptied before each attempt.
        """

        def write(_: str, response: httpx.Response) -> None:
            into.seek(0)
            into.truncate()
            for part in response.iter_bytes():
                into.write(part)

        self._repeated(write, "GET", path, {})

    def _repeated(
        self,
        read: Callable[[str, httpx.Response], Answer],
        method: str,
        path: str,
        options: dict[str, Any],
    ) -> Answer:
        return repeated(lambda: self._once(read, method, path, options), self.sleep)

    def _document(self, asked: str, response: httpx.Response) -> Any:
        try:
            answer = orjson.loads(response.read())
        except orjson.JSONDecodeError as error:
            message = f"{self.system}: {asked}: the answer is no JSON: {error}"
            raise Again(HandoffError("UPSTREAM_UNAVAILABLE", message), None) from error
        refused = self.judge(answer) if self.judge else None
        if refused is None:
            return answer
        told = HandoffError(refused.error.code, f"{self.system}: {asked}: {refused.error.message}")
        raise Again(told, refused.wait) if refused.is_retried else told

    def _once(
        self,
        read: Callable[[str, httpx.Response], Answer],
        method: str,
        path: str,
        options: dict[str, Any],
    ) -> Answer:
        import httpx

        if self.limits is not None and (pause := self.limits.wait_seconds(path)) > 0:
            self.sleep(pause)
        try:
            with self.client.stream(method, path, **options) as response:
                if self.limits is not None:
                    self.limits.note(response)
                if response.is_success:
                    return read(f"{method} {path}", response)
                response.read()
        except httpx.TransportError as error:
            message = f"{self.system}: {method} {path}: {type(error).__name__}: {error}"
            raise Again(HandoffError("UPSTREAM_UNAVAILABLE", message), None) from error
        is_limit = self.is_limit(response)
        refusal = UpstreamRefusal(
            "RATE_LIMITED" if is_limit else code_of(response.status_code),
            f"{self.system}: {method} {path}: HTTP {response.status_code}: {response.text[:300]}",
            response.status_code,
        )
        final = self.limits.final(response) if self.limits is not None else None
        if final is not None:
            raise final
        if response.status_code in RETRIED or is_limit:
            raise Again(refusal, self._asked_to_wait(response))
        raise refusal

    def _asked_to_wait(self, response: httpx.Response) -> float | None:
        told = response.headers.get("retry-after")
        if told is None and self.reset_header and response.status_code == 429:
            told = response.headers.get(self.reset_header)
        return retry_after(told)


def repeated(ask: Callable[[], Answer], sleep: Callable[[float], None]) -> Answer:
    """What `ask` answers, asked again while it raises Again, as long as it is worth it."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=_wait_seconds,
        retry=retry_if_exception_type(Again),
        sleep=sleep,
        reraise=True,
    )
    try:
        return attempts(ask)
    except Again as again:
        raise again.error from again


def address(settings: Settings, system: str) -> str:
    """HANDOFF_<SYSTEM>_URL; SYSTEM_NOT_CONFIGURED without one, or when it is neither https nor
    loopback."""
    url = getattr(settings, f"{system}_url")
    variable = f"HANDOFF_{system.upper()}_URL"
    if not url:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED", f"{system} is not configured: {variable} is not set"
        )
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{variable} is {url!r}: credentials are sent over https only",
            remedy=f"Set {variable} to an https:// address.",
        )
    return str(url)


@contextmanager
def session(
    settings: Settings,
    system: str,
    headers: dict[str, str] | None = None,
    limits: Limits | None = None,
    judge: Judge | None = None,
) -> Iterator[Session]:
    """A session at HANDOFF_<SYSTEM>_URL; SYSTEM_NOT_CONFIGURED without one, or when it is neither
    https nor loopback."""
    import httpx

    url = address(settings, system)
    loopback = urlsplit(url).hostname in LOOPBACK
    with httpx.Client(
        base_url=url.rstrip("/") + "/",
        headers={"accept": "application/json", **(headers or {})},
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        # A proxy of the environment cannot reach our own loopback.
        trust_env=not loopback,
    ) as client:
        yield Session(system, client, limits=limits, judge=judge)


def bearer(settings: Settings, system: str) -> dict[str, str]:
    """Authorization header from HANDOFF_<SYSTEM>_TOKEN; SYSTEM_NOT_CONFIGURED without one."""
    token = getattr(settings, f"{system}_token")
    if token is None or not token.get_secret_value():
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{system} is not configured: HANDOFF_{system.upper()}_TOKEN is not set",
        )
    return {"authorization": f"Bearer {token.get_secret_value()}"}


def parse_time(text: str) -> datetime:
    """An ISO 8601 instant as vendors write it (`Z`, `+0000`), in UTC; without a zone it is UTC."""
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def time_text(instant: datetime) -> str:
    """An instant in UTC as vendors read it: ISO 8601, milliseconds, cut, `Z`."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds a Retry-After header asks for, as a number or as an HTTP date (RFC 9110, 10.2.3);
    None when unreadable."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _wait_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, Again) else None
    backoff = 0.25 * 2.0 ** (state.attempt_number - 1)
    return float(min(LONGEST_WAIT_SECONDS, backoff if asked is None else asked))


def code_of(status: int) -> str:
    """Our code for an HTTP status that is no success."""
    if status == 401:
        return "AUTH_EXPIRED"
    if status == 403:
        return "SCOPE_DENIED"
    if status == 429:
        return "RATE_LIMITED"
    return "UPSTREAM_UNAVAILABLE" if status in RETRIED or status >= 500 else "UPSTREAM_REJECTED"
