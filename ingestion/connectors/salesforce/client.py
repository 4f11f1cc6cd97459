"""One connection to an org: log-in, renewed once, and queries page by page; which objects are asked
for is not known here.

Sources: Salesforce Help, "OAuth 2.0 Client Credentials Flow"; REST API Developer Guide, "QueryAll".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ingestion.connectors.client_credentials import log_in, renewed
from ingestion.connectors.polling import Session, session
from ingestion.connectors.salesforce.limits import LOG_IN, OrgLimits, TooManyAtOnce
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# "Concurrent API Request Limits": 25 calls that take 20 seconds or longer; they end by themselves.
CONCURRENT_WAITS_SECONDS = (5.0, 15.0, 45.0)


class Client:
    """Requests below `services/data/vXX/` of one org; paths are relative to it."""

    def __init__(self, http: Session, settings: Settings) -> None:
        """Takes over an open session that has not logged in; see `connected`."""
        self._http = http
        self._settings = settings
        self._base = f"services/data/v{settings.salesforce_api_version}"

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON answer to a GET."""
        return self.request("GET", path, params=params or {})

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer; errors are those of `polling.Session.request`, and QUOTA_EXHAUSTED."""
        return self._sent(lambda: self._http.request(method, f"{self._base}/{path}", **options))

    def answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer with its headers, for what is no JSON."""
        return self._sent(lambda: self._http.answer(method, f"{self._base}/{path}", **options))

    def query(self, soql: str) -> Iterator[dict[str, Any]]:
        """Pages of `soql`, deleted records included: `totalSize`, and `records` with their values."""
        path, params = "queryAll", {"q": soql}
        while True:
            page = self.get(path, params)
            yield page
            if page["done"]:
                return
            # The address of the next page is absolute on the host, our base may lie below a prefix.
            path = str(page["nextRecordsUrl"]).partition(f"/{self._base}/")[2]
            params = {}

    def count(self, soql: str) -> int:
        """How many records a `SELECT COUNT()` finds, deleted ones included."""
        return int(self.get("queryAll", {"q": soql})["totalSize"])

    def pause(self, seconds: float) -> None:
        """Wait, as the session waits between its attempts."""
        self._http.sleep(seconds)

    def log_in(self) -> None:
        """Take a new access token; AUTH_EXPIRED when the credentials are refused."""
        log_in(self._http, self._settings, LOG_IN)

    def _sent(self, send: Callable[[], T]) -> T:
        for wait in (*CONCURRENT_WAITS_SECONDS, None):
            try:
                return renewed(send, self.log_in)
            except HandoffError as error:
                if wait is None or not isinstance(error, TooManyAtOnce):
                    raise
            self.pause(wait)
        raise AssertionError("unreachable")


@contextmanager
def connected(settings: Settings) -> Iterator[Client]:
    """A client that has logged in at HANDOFF_SALESFORCE_URL; SYSTEM_NOT_CONFIGURED without address or
    credentials, AUTH_EXPIRED when they are refused."""
    limits = OrgLimits(settings.salesforce_usage_percent)
    with session(settings, "salesforce", limits=limits) as http:
        client = Client(http, settings)
        client.log_in()
        yield client
