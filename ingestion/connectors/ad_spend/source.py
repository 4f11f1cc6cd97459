"""Reads what campaigns cost from a folder, a file or a sheet's address; what a day's cost means is
staging's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ingestion.connectors.ad_spend.columns import declared_names
from ingestion.connectors.ad_spend.sheet import Options, Sheet, Spent, read_sheet
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.pages import batched
from ingestion.connectors.polling import session
from ingestion.erasure.named import NOBODY, Named
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("days", "files")
NAMED: Mapping[str, Named] = {"days": NOBODY, "files": NOBODY}
PAGE = 1_000
SUFFIXES = (".csv", ".tsv", ".txt")
# What the files say has no time of its own; its content alone makes it news.
TIMELESS = datetime(1970, 1, 1, tzinfo=UTC)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_AD_SPEND_URL is set."""
    return bool(settings.ad_spend_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Everything the files say, each time: only what changed is archived.

    Args:
        resource: "days", one record per platform, account and day with all that was spent on it, for
            every day from the first to the last of a file, also where nothing was: what is gone from
            a newer export is gone from the day. "files", one record of all files, with the rows that
            could not be read.
        since: Not looked at: what was corrected may lie any time back, and an export has no times
            of change.
        settings: Address, and what the files do not say of themselves.
    """
    sheets = _sheets(settings)
    if resource == "files":
        yield [_files(sheets)]
        return
    rows = sorted(_days(sheets), key=lambda row: (row.updated_at, row.record_id))
    yield from batched(rows, PAGE)


def _sheets(settings: Settings) -> list[Sheet]:
    """The files, the newest last."""
    options = Options(
        columns=declared_names(settings.ad_spend_columns),
        platform=settings.ad_spend_platform,
        currency=settings.ad_spend_currency,
        decimal=settings.ad_spend_decimal,
        date_format=settings.ad_spend_date_format,
    )
    return [read_sheet(name, content, options) for name, content in _contents(settings)]


def _contents(settings: Settings) -> Iterator[tuple[str, bytes]]:
    url = settings.ad_spend_url or ""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        yield _fetched(settings, url)
        return
    path = Path(parts.path if parts.scheme == "file" else url).expanduser()
    try:
        if path.is_dir():
            found = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES]
            for one in sorted(found, key=lambda one: (one.stat().st_mtime_ns, one.name)):
                yield one.name, one.read_bytes()
        else:
            yield path.name, path.read_bytes()
    except OSError as error:
        raise HandoffError(
            "FILE_UNREADABLE",
            f"ad_spend: {path}: {error.strerror or error}",
            remedy="Set HANDOFF_AD_SPEND_URL to a file or folder that can be read.",
        ) from error


def _fetched(settings: Settings, url: str) -> tuple[str, bytes]:
    token = settings.ad_spend_token
    headers = {"accept": "text/csv, text/*;q=0.9"}
    if token is not None and token.get_secret_value():
        headers["authorization"] = f"Bearer {token.get_secret_value()}"
    with session(settings, "ad_spend", headers) as http:
        # A published sheet answers from another host of Google's, to which no header of ours goes.
        http.client.follow_redirects = True
        content = http.content(url)
    if content.lstrip()[:1] == b"<":
        raise HandoffError(
            "UPSTREAM_REJECTED",
            f"ad_spend: GET {urlsplit(url).path}: the answer is a web page, not CSV",
            remedy="Publish the sheet as CSV or let everybody with the link read it, and use its"
            " address with export?format=csv.",
        )
    return urlsplit(url).path.rpartition("/")[2] or "sheet", content


def _days(sheets: Iterable[Sheet]) -> Iterator[Extracted]:
    """Each day as the newest file that covers it has it."""
    days: dict[tuple[str, str, date], list[Spent]] = {}

    def source(row: Spent) -> tuple[str, str]:
        return row.platform, row.account

    for sheet in sheets:
        for (platform, account), found in groupby(sorted(sheet.rows, key=source), key=source):
            by_day: dict[date, list[Spent]] = {}
            for row in found:
                by_day.setdefault(row.date, []).append(row)
            first, last = min(by_day), max(by_day)
            for ahead in range((last - first).days + 1):
                day = first + timedelta(days=ahead)
                days[platform, account, day] = by_day.get(day, [])
    for (platform, account, day), rows in days.items():
        yield Extracted(
            record_id=f"{platform}/{account}/{day}",
            # Not when the file was written: the same day must be found again among what is archived.
            updated_at=datetime.combine(day, time(), UTC),
            is_deleted=not rows,
            payload={
                "platform": platform,
                "account": account,
                "date": day.isoformat(),
                "campaigns": _campaigns(rows),
            },
            is_snapshot=True,
        )


def _campaigns(rows: Iterable[Spent]) -> list[dict[str, Any]]:
    """Rows by device, network or ad come to one of the campaign; decimals are text, as JSON's numbers
    are binary."""

    def campaign(row: Spent) -> tuple[str, str]:
        return row.campaign_id, row.currency

    found = []
    for (campaign_id, currency), group in groupby(sorted(rows, key=campaign), key=campaign):
        parts = list(group)
        impressions = [row.impressions for row in parts if row.impressions is not None]
        clicks = [row.clicks for row in parts if row.clicks is not None]
        found.append(
            {
                "campaign_id": campaign_id,
                "campaign": parts[-1].campaign,
                "channel": parts[-1].channel,
                "currency": currency,
                "cost": str(sum((row.cost for row in parts), Decimal(0))),
                "impressions": sum(impressions) if impressions else None,
                "clicks": sum(clicks) if clicks else None,
            }
        )
    return found


def _files(sheets: Iterable[Sheet]) -> Extracted:
    told = [
        {
            "file": sheet.name,
            "rows": len(sheet.rows),
            "totals": sheet.totals,
            "refused": [
                {
                    "line": bad.line,
                    "column": bad.column,
                    "value": bad.value,
                    "code": bad.code,
                    "message": bad.message,
                    "remedy": bad.remedy,
                }
                for bad in sheet.refusals
            ],
        }
        for sheet in sheets
    ]
    return Extracted("files", TIMELESS, False, {"files": told}, is_snapshot=True)
