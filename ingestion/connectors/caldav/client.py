"""Speaks WebDAV and CalDAV through the `caldav` library: properties, changes since a token, objects,
free/busy; what an object means is elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit
from xml.sax.saxutils import escape

from ingestion import time_zones
from ingestion.connectors import polling
from ingestion.connectors.polling import UpstreamRefusal
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

if TYPE_CHECKING:
    from caldav.davclient import DAVClient
    from caldav.response import DAVResponse

SYSTEM = "caldav"
DAV, CAL, CS = "{DAV:}", "{urn:ietf:params:xml:ns:caldav}", "{http://calendarserver.org/ns/}"
_SPACES = (
    'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:S="http://calendarserver.org/ns/"'
)
MULTIGET = 100
_BASIC = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar collection; `owner` is the e-mail address of the rep whose it is, `time_zone` the
    one of its whole days and floating times."""

    path: str
    owner: str
    time_zone: str

    def is_called(self, name: str) -> bool:
        """Whether `name` is its owner's address or its path."""
        return name.lower() == self.owner or ("/" in name and _same(name, self.path))


@dataclass(frozen=True, slots=True)
class Listed:
    """What changed in a calendar: etag by path of each object, paths of deleted ones, and the token
    to go on from (None where the server has none)."""

    etags: dict[str, str]
    gone: tuple[str, ...]
    token: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One calendar object resource; `modified_at` is the server's own date of it,
    None where a server gives none."""

    path: str
    etag: str
    modified_at: datetime | None
    text: str


class TokenRefused(Exception):
    """The server does not go on from this token, or has no tokens at all: list everything."""


class Client:
    """Requests of one account, each repeated until it is answered or given up."""

    def __init__(self, dav: DAVClient, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take over an open client; `sleep` waits between attempts."""
        self.dav = dav
        self.base = str(dav.url)
        self.sleep = sleep

    def calendars(self, settings: Settings) -> list[Calendar]:
        """Those of HANDOFF_CALDAV_CALENDARS (`rep@example.com=/path/`), otherwise all of the account.

        Source: RFC 5397 (current-user-principal), RFC 4791, 6.2.1 and 9.8, RFC 6638, 2.4.1.
        """
        try:
            time_zones.zone(settings.caldav_time_zone)
        except ValueError as error:
            raise HandoffError(
                "SYSTEM_NOT_CONFIGURED", f"HANDOFF_CALDAV_TIME_ZONE: {error}"
            ) from error
        named = [part.strip() for part in settings.caldav_calendars.split(",") if part.strip()]
        if named:
            pairs = [part.partition("=") for part in named]
            if bad := [part for (owner, _, path), part in zip(pairs, named, strict=True) if "@" not in owner or not path]:  # fmt: skip
                raise HandoffError(
                    "SYSTEM_NOT_CONFIGURED",
                    f"HANDOFF_CALDAV_CALENDARS names {bad[0]!r}; expected rep@example.com=/path/of/calendar/",
                )
            return [
                found
                for owner, _, path in pairs
                for found in self._calendars_at(path.strip(), "0", owner.strip().lower(), settings)
            ]
        principal = self._href(
            self.base, "<D:current-user-principal/>", f"{DAV}current-user-principal"
        )
        home = self._href(principal, "<C:calendar-home-set/>", f"{CAL}calendar-home-set")
        addresses = self._hrefs(
            principal, "<C:calendar-user-address-set/>", f"{CAL}calendar-user-address-set"
        )
        mails = [text[7:].lower() for text in addresses if text.lower().startswith("mailto:")]
        account = (settings.caldav_username or "").lower()
        owner = next(iter(mails), account if "@" in account else "")
        return self._calendars_at(home, "1", owner, settings)

    def changes(self, calendar: Calendar, token: str | None) -> Listed:
        """What changed since `token`, everything without one; TokenRefused when it is not known any
        more, or the server has none.

        Source: RFC 6578, 3.2 to 3.8; a 507 of the collection itself means that there is more.
        """
        etags: dict[str, str] = {}
        gone: dict[str, None] = {}
        while True:
            body = (
                f"<D:sync-collection {_SPACES}><D:sync-token>{escape(token or '')}</D:sync-token>"
                "<D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
            )
            try:
                answer = self._ask("REPORT", calendar.path, body, None)
            except UpstreamRefusal as error:
                # A token that is too old is refused with 403 or 409, a report nobody knows with 4xx.
                if error.status in (400, 403, 404, 405, 409, 412, 415, 422, 501):
                    raise TokenRefused from error
                raise
            more = False
            for path, status, properties in _responses(answer):
                if status == 404:
                    gone[path] = None
                    etags.pop(path, None)
                elif status == 507:
                    more = True
                elif _same(path, calendar.path):
                    continue
                else:
                    gone.pop(path, None)
                    etags[path] = _text(properties.get(f"{DAV}getetag"))
            found = answer.tree.findtext(f"{DAV}sync-token") if answer.tree is not None else None
            if not found:
                raise TokenRefused
            if not more or found == token:
                return Listed(etags, tuple(gone), found)
            token = found

    def everything(self, calendar: Calendar) -> Listed:
        """Every object's etag, of a server that tells no changes."""
        answer = self._propfind(calendar.path, "<D:getetag/><D:resourcetype/>", "1")
        etags = {
            path: _text(properties.get(f"{DAV}getetag"))
            for path, _, properties in _responses(answer)
            if not _same(path, calendar.path) and not _has(properties, f"{DAV}collection")
        }
        return Listed(etags, (), None)

    def state(self, calendar: Calendar) -> str | None:
        """The collection's ctag: unlike the last one means that something in it changed."""
        answer = self._propfind(calendar.path, "<S:getctag/>", "0")
        for _, _, properties in _responses(answer):
            if found := _text(properties.get(f"{CS}getctag")):
                return found
        return None

    def objects(self, calendar: Calendar, paths: Sequence[str]) -> Iterator[list[StoredObject]]:
        """The objects at `paths`, some at a time; those that went meanwhile are left out.

        Source: RFC 4791, 7.9 (calendar-multiget).
        """
        for start in range(0, len(paths), MULTIGET):
            hrefs = "".join(
                f"<D:href>{escape(path)}</D:href>" for path in paths[start : start + MULTIGET]
            )
            body = (
                f"<C:calendar-multiget {_SPACES}><D:prop><D:getetag/><D:getlastmodified/><C:calendar-data/></D:prop>"
                f"{hrefs}</C:calendar-multiget>"
            )
            answer = self._ask("REPORT", calendar.path, body, None)
            yield [
                StoredObject(
                    path,
                    _text(properties.get(f"{DAV}getetag")),
                    _http_date(_text(properties.get(f"{DAV}getlastmodified"))),
                    _text(properties.get(f"{CAL}calendar-data")),
                )
                for path, _, properties in _responses(answer)
                if _text(properties.get(f"{CAL}calendar-data"))
            ]

    def within(self, calendar: Calendar, start: datetime, end: datetime) -> list[str]:
        """iCalendar texts of the objects with an occurrence in [start, end).

        Source: RFC 4791, 7.8 and 9.9.
        """
        body = (
            f"<C:calendar-query {_SPACES}><D:prop><C:calendar-data/></D:prop><C:filter>"
            f'<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">{_range(start, end)}'
            "</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
        )
        answer = self._ask("REPORT", calendar.path, body, "1")
        texts = (_text(found.get(f"{CAL}calendar-data")) for _, _, found in _responses(answer))
        return [text for text in texts if text]

    def stored(self, path: str) -> StoredObject | None:
        """The object at `path`, None when there is none."""
        try:
            answer = self._change("GET", path, "", {})
        except UpstreamRefusal as error:
            if error.status in (404, 410):
                return None
            raise
        return StoredObject(path, answer.headers.get("ETag") or "", None, str(answer.raw))

    def put(self, path: str, text: str, condition: tuple[str, str]) -> str | None:
        """Write an object if the condition (a header and its value) holds; its new etag, None where
        the server does not tell. UpstreamRefusal with status 412 when it does not hold."""
        headers = {"Content-Type": "text/calendar; charset=utf-8", condition[0]: condition[1]}
        told = self._change("PUT", path, text, headers).headers.get("ETag")
        return None if told is None else str(told)

    def delete(self, path: str, etag: str) -> None:
        """Delete the version `etag` of an object."""
        self._change("DELETE", path, "", {"If-Match": etag})

    def free_busy(self, calendar: Calendar, start: datetime, end: datetime) -> str:
        """The VFREEBUSY of a calendar; UpstreamRefusal where the server does not answer that.

        Source: RFC 4791, 7.10.
        """
        body = f"<C:free-busy-query {_SPACES}>{_range(start, end)}</C:free-busy-query>"
        return str(self._ask("REPORT", calendar.path, body, "1").raw)

    def _calendars_at(
        self, path: str, depth: str, owner: str, settings: Settings
    ) -> list[Calendar]:
        answer = self._propfind(
            path,
            "<D:resourcetype/><C:calendar-timezone/><C:supported-calendar-component-set/>",
            depth,
        )
        found = []
        for at, _, properties in _responses(answer):
            if not _has(properties, f"{CAL}calendar"):
                continue
            holds = properties.get(f"{CAL}supported-calendar-component-set")
            if holds is not None and "VEVENT" not in [one.get("name") for one in holds]:
                continue
            zone = (
                _zone(_text(properties.get(f"{CAL}calendar-timezone"))) or settings.caldav_time_zone
            )
            found.append(Calendar(at, owner, zone))
        if not found and depth == "0":
            raise HandoffError(
                "SYSTEM_NOT_CONFIGURED",
                f"HANDOFF_CALDAV_CALENDARS: there is no calendar at {path!r}",
            )
        return found

    def _href(self, path: str, asked: str, name: str) -> str:
        found = self._hrefs(path, asked, name)
        if not found:
            raise HandoffError(
                "UPSTREAM_REJECTED",
                f"{SYSTEM}: {path} has no {name.partition('}')[2]}",
                remedy="Name the calendars: HANDOFF_CALDAV_CALENDARS.",
            )
        return found[0]

    def _hrefs(self, path: str, asked: str, name: str) -> list[str]:
        answer = self._propfind(path, asked, "0")
        return [
            str(href.text or "").strip()
            for _, _, properties in _responses(answer)
            if (element := properties.get(name)) is not None
            for href in element.iter(f"{DAV}href")
        ]

    def _propfind(self, path: str, properties: str, depth: str) -> DAVResponse:
        body = f"<D:propfind {_SPACES}><D:prop>{properties}</D:prop></D:propfind>"
        return self._ask("PROPFIND", path, body, depth)

    def _ask(self, method: str, path: str, body: str, depth: str | None) -> DAVResponse:
        url = self._url(path)
        return polling.repeated(lambda: self._once(method, url, body, depth), self.sleep)

    def _change(self, method: str, path: str, body: str, headers: dict[str, str]) -> DAVResponse:
        url = self._url(path)
        return polling.repeated(lambda: self._sent(method, url, body, headers), self.sleep)

    def _url(self, path: str) -> str:
        url = urljoin(self.base, path)
        if urlsplit(url).netloc != urlsplit(self.base).netloc:
            # Credentials go to the server that was named, whatever its answers say.
            raise HandoffError("UPSTREAM_REJECTED", f"{SYSTEM}: {path!r} leads to another server")
        return url

    def _once(self, method: str, url: str, body: str, depth: str | None) -> DAVResponse:
        headers = {
            "Content-Type": "application/xml; charset=utf-8",
            **({"Depth": depth} if depth else {}),
        }
        return self._sent(method, url, f'<?xml version="1.0" encoding="utf-8"?>{body}', headers)

    def _sent(self, method: str, url: str, body: str, headers: dict[str, str]) -> DAVResponse:
        import requests
        from caldav.lib import error as dav_error

        what = f"{SYSTEM}: {method} {urlsplit(url).path}"
        try:
            answer = self.dav.request(url, method, body, headers)
        except dav_error.RateLimitError as error:
            refused = HandoffError("RATE_LIMITED", f"{what}: {error}")
            raise polling.Again(refused, error.retry_after_seconds) from error
        except dav_error.DAVError as error:
            status = error.status or 500
            raise UpstreamRefusal(
                polling.code_of(status), f"{what}: HTTP {status}: {error.reason}", status
            ) from error
        except requests.RequestException as error:
            failed = HandoffError(
                "UPSTREAM_UNAVAILABLE", f"{what}: {type(error).__name__}: {error}"
            )
            raise polling.Again(failed, None) from error
        if answer.status < 300:
            return answer
        refusal = UpstreamRefusal(
            polling.code_of(answer.status),
            f"{what}: HTTP {answer.status}: {answer.raw[:300]}",
            answer.status,
        )
        if answer.status in polling.RETRIED:
            raise polling.Again(refusal, polling.retry_after(answer.headers.get("Retry-After")))
        raise refusal


@contextmanager
def connected(settings: Settings) -> Iterator[Client]:
    """A client at HANDOFF_CALDAV_URL; SYSTEM_NOT_CONFIGURED without address or credentials."""
    from caldav.davclient import DAVClient

    url = polling.address(settings, SYSTEM)
    password = settings.caldav_password.get_secret_value() if settings.caldav_password else ""
    if not settings.caldav_username or not password:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            "caldav is not configured: HANDOFF_CALDAV_USERNAME or HANDOFF_CALDAV_PASSWORD is not set",
        )
    with DAVClient(
        url=url if url.endswith("/") else url + "/",
        username=settings.caldav_username,
        password=password,
        timeout=int(polling.ANSWER_SECONDS),
        enable_rfc6764=False,
        rate_limit_handle=False,
    ) as dav:
        # A proxy of the environment cannot reach our own loopback.
        dav.session.trust_env = urlsplit(url).hostname not in polling.LOOPBACK
        yield Client(dav)


def _responses(answer: DAVResponse) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Path, status and found properties of each response of a multistatus (RFC 4918, 14.16)."""
    if answer.tree is None:
        return
    for response in answer.tree.iter(f"{DAV}response"):
        href = unquote_path(response.findtext(f"{DAV}href") or "")
        properties: dict[str, Any] = {}
        for stat in response.findall(f"{DAV}propstat"):
            if _status(stat.findtext(f"{DAV}status")) < 300:
                for prop in stat.findall(f"{DAV}prop"):
                    properties.update({child.tag: child for child in prop})
        yield href, _status(response.findtext(f"{DAV}status")), properties


def unquote_path(href: str) -> str:
    """The path of an href as servers compare it: some write the whole address, some escape more."""
    return urlsplit(href.strip()).path


def _same(one: str, other: str) -> bool:
    return unquote(urlsplit(one).path).rstrip("/") == unquote(urlsplit(other).path).rstrip("/")


def _status(line: str | None) -> int:
    parts = (line or "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 200


def _text(element: Any) -> str:
    return "" if element is None else "".join(element.itertext()).strip()


def _has(properties: dict[str, Any], tag: str) -> bool:
    kinds = properties.get(f"{DAV}resourcetype")
    return kinds is not None and any(kind.tag == tag for kind in kinds)


def _http_date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _zone(text: str) -> str | None:
    """IANA's name of the one VTIMEZONE that `calendar-timezone` holds (RFC 4791, 5.2.2)."""
    from ingestion.connectors.caldav.occurrences import iana_name

    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.upper() in ("TZID", "X-LIC-LOCATION") and (found := iana_name(value)) is not None:
            return found
    return text if text in time_zones.names() else None


def _range(start: datetime, end: datetime) -> str:
    first, last = (at.astimezone(UTC).strftime(_BASIC) for at in (start, end))
    return f'<C:time-range start="{first}" end="{last}"/>'
