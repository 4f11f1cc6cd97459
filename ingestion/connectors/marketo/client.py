"""Marketo's REST API as a caller meets it: tokens, refusals inside answers of 200, pace and paging;
what is asked for and why is source.py's."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

from ingestion.connectors.client_credentials import log_in, renewed
from ingestion.connectors.marketo.limits import LOG_IN, WINDOW_SECONDS, limits_of
from ingestion.connectors.polling import Refused, Session, session
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

Row = dict[str, Any]

# Status of an export changes once a minute at most: Marketo asks not to look more often.
EXPORT_LOOK_SECONDS, EXPORT_LOOKS = 60.0, 240
# Their code -> ours, whether repeating helps, and after how many seconds where that is known.
# Source: experienceleague.adobe.com, Marketo Engage Developer, "Error Codes".
CODES: dict[str, tuple[str, bool, float | None]] = {
    "502": ("UPSTREAM_UNAVAILABLE", True, None),
    "601": ("AUTH_EXPIRED", False, None),
    "602": ("AUTH_EXPIRED", False, None),
    "603": ("SCOPE_DENIED", False, None),
    "604": ("UPSTREAM_UNAVAILABLE", True, None),
    "606": ("RATE_LIMITED", True, WINDOW_SECONDS),
    "607": ("QUOTA_EXHAUSTED", False, None),
    "608": ("UPSTREAM_UNAVAILABLE", True, None),
    "611": ("UPSTREAM_UNAVAILABLE", True, None),
    "614": ("UPSTREAM_UNAVAILABLE", True, None),
    "615": ("RATE_LIMITED", True, None),
    "713": ("UPSTREAM_LOCKED", True, None),
    "719": ("UPSTREAM_LOCKED", True, None),
    "1008": ("SCOPE_DENIED", False, None),
    "1019": ("UPSTREAM_LOCKED", True, None),
    "1029": ("QUOTA_EXHAUSTED", False, None),
}


class Client:
    """Calls of one poll; logs in when first needed, and anew once when a token has run out."""

    def __init__(self, http: Session, settings: Settings) -> None:
        """`http` judges with `refusal`."""
        self._http = http
        self._settings = settings
        self._is_logged_in = False

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The whole answer to a GET."""
        return self._request("GET", path, params=params or {})

    def post(self, path: str, body: Any = None) -> Any:
        """The whole answer to a POST."""
        return self._request("POST", path, **({} if body is None else {"json": body}))

    def changes(self, path: str, since: datetime, params: dict[str, Any]) -> Iterator[list[Row]]:
        """Pages of an endpoint of the activity log from `since` on; one may be empty though more
        follow ("Activities", "Page through results")."""
        asked = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = self.get("rest/v1/activities/pagingtoken.json", {"sinceDatetime": asked})
        place = token["nextPageToken"]
        while True:
            answer = self.get(path, {**params, "nextPageToken": place})
            yield answer.get("result") or []
            place = answer.get("nextPageToken")
            if not answer.get("moreResult"):
                return

    def listed(self, path: str, params: dict[str, Any]) -> Iterator[Row]:
        """Rows of an endpoint of the lead database."""
        asked = dict(params)
        while True:
            answer = self.get(path, asked)
            yield from answer.get("result") or []
            if not answer.get("moreResult") and not answer.get("nextPageToken"):
                return
            asked["nextPageToken"] = answer["nextPageToken"]

    def assets(self, path: str, params: dict[str, Any], page: int) -> Iterator[Row]:
        """Rows of an asset endpoint, `page` at a time; none found is an answer without a result."""
        offset = 0
        while True:
            asked = {**params, "maxReturn": page, "offset": offset}
            rows = self.get(path, asked).get("result") or []
            yield from rows
            if len(rows) < page:
                return
            offset += page

    @contextmanager
    def exported(self, job: Row) -> Iterator[BinaryIO]:
        """The file of a bulk lead extract ("Bulk Extract"): made, queued, waited for, written to disk
        as it comes, compared with its checksum."""
        base = "bulk/v1/leads/export"
        export_id = self.post(f"{base}/create.json", job)["result"][0]["exportId"]
        self.post(f"{base}/{export_id}/enqueue.json")
        for _ in range(EXPORT_LOOKS):
            told = self.get(f"{base}/{export_id}/status.json")["result"][0]
            if told["status"] == "Completed":
                break
            if told["status"] not in ("Created", "Queued", "Processing"):
                raise HandoffError(
                    "UPSTREAM_UNAVAILABLE", f"marketo: export {export_id} is {told['status']}"
                )
            self._http.sleep(EXPORT_LOOK_SECONDS)
        else:
            raise HandoffError(
                "UPSTREAM_UNAVAILABLE",
                f"marketo: export {export_id} is {told['status']} after"
                f" {EXPORT_LOOKS * EXPORT_LOOK_SECONDS / 60:.0f} minutes",
            )
        with tempfile.TemporaryFile() as file:
            if told.get("numberOfRecords"):
                self._http.download(f"{base}/{export_id}/file.json", file)
                file.seek(0)
                checksum = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
                if told.get("fileChecksum", checksum) != checksum:
                    raise HandoffError(
                        "UPSTREAM_UNAVAILABLE",
                        f"marketo: export {export_id} came as {checksum}, not "
                        f"{told['fileChecksum']}",
                    )
            file.seek(0)
            yield file

    def _request(self, method: str, path: str, **options: Any) -> Any:
        if not self._is_logged_in:
            self._log_in()
        return renewed(lambda: self._http.request(method, path, **options), self._log_in)

    def _log_in(self) -> None:
        log_in(self._http, self._settings, LOG_IN)
        self._is_logged_in = True


@contextmanager
def opened(settings: Settings) -> Iterator[Client]:
    """A client at HANDOFF_MARKETO_URL."""
    limits = limits_of(
        str(settings.marketo_url), settings.marketo_rate_limit, settings.marketo_daily_calls
    )
    with session(settings, "marketo", limits=limits, judge=refusal) as http:
        yield Client(http, settings)


def refusal(answer: Any) -> Refused | None:
    """The refusal in an answer of 200 ("Response-Level errors"): `success` is false, and `errors`
    holds code and message."""
    if not isinstance(answer, dict) or answer.get("success") is not False:
        return None
    errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
    first = errors[0] if errors else {}
    their_code = str(first.get("code", "unknown"))
    code, is_retried, wait = CODES.get(their_code, ("UPSTREAM_REJECTED", False, None))
    message = f"{their_code}: {str(first.get('message', ''))[:300]}"
    return Refused(HandoffError(code, message), is_retried, wait)
