"""Reads one export of ad spend: finds its table, reads every row of it and says of each that it
cannot read where it stands and what to do."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from ingestion.connectors.ad_spend.columns import CHANNELS, PLATFORMS, Header, plain_name
from ingestion.connectors.ad_spend.written import amount, count, day, day_first, decimal_mark

DELIMITERS = ",;\t|"
# Reports of Google and LinkedIn begin with lines that say what they are.
LINES_BEFORE = 30
MICROS = 1_000_000
EMPTY = ("", "-", "--", " --", "n/a")
_TOTAL = re.compile(
    r"(grand |sub)?totals?\b|(gesamt|summe|insgesamt|totaal|somme|résumé|suma)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Options:
    """What files do not say of themselves; empty where they shall tell it."""

    columns: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    currency: str = ""
    decimal: str = ""
    date_format: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """One row: what a campaign cost on a day, in `currency`."""

    date: date
    platform: str
    account: str
    campaign_id: str
    campaign: str
    channel: str | None
    currency: str
    cost: Decimal
    impressions: int | None
    clicks: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row, or with line 0 a file, that could not be read."""

    line: int
    column: str
    value: str
    code: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one file says; `totals` counts its rows that sum up others."""

    name: str
    rows: tuple[Spent, ...]
    refusals: tuple[Refusal, ...]
    totals: int = 0


class _Unreadable(Exception):
    def __init__(self, column: str, value: str, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.column, self.value, self.code = column, value, code
        self.message, self.remedy = message, remedy


def read_sheet(name: str, content: bytes, options: Options) -> Sheet:
    """The rows of a CSV of any delimiter, in UTF-8 or UTF-16, with or without lines before its
    table."""
    try:
        text = _decoded(content)
        found = _table(text, options)
    except (UnicodeDecodeError, csv.Error) as error:
        remedy = "Export the file again as CSV in UTF-8."
        return _refused(name, "FILE_UNREADABLE", f"cannot be read: {error}", remedy)
    if found is None:
        return _refused(
            name, "COLUMN_UNKNOWN",
            "no line names columns for the day, the campaign and the cost",
            "Export with these columns, or name them: HANDOFF_AD_SPEND_COLUMNS=cost=Media spend;…",
        )  # fmt: skip
    header, lines = found
    return _read(name, header, lines, options)


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What Excel saves as CSV where it is not told otherwise.
        return content.decode("cp1252")


_Line = tuple[int, list[str]]


def _table(text: str, options: Options) -> tuple[Header, list[_Line]] | None:
    """The delimiter is the one that makes a line of column names; a sniffer would be misled by the
    lines before."""
    best: tuple[int, str, int] | None = None
    for delimiter in DELIMITERS:
        for at, (_, cells) in enumerate(_lines(text, delimiter, LINES_BEFORE)):
            header = Header(cells, options.columns)
            if header.is_one and (best is None or len(header.at) > best[0]):
                best = (len(header.at), delimiter, at)
    if best is None:
        return None
    rows = list(_lines(text, best[1]))
    return Header(rows[best[2]][1], options.columns), rows[best[2] + 1 :]


def _lines(text: str, delimiter: str, most: int | None = None) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        yield reader.line_num, cells
        if most is not None and reader.line_num >= most:
            return


def _read(name: str, header: Header, lines: Sequence[_Line], options: Options) -> Sheet:
    kept: list[tuple[int, list[str]]] = []
    totals = 0
    for number, cells in lines:
        filled = [cell.strip() for cell in cells if cell.strip()]
        if not filled:
            continue
        # A campaign may be called so too, but then it has a day.
        is_dated = any(one.isdigit() for one in _cell(header, cells, "date"))
        if _TOTAL.match(filled[0]) and not is_dated:
            totals += 1
        else:
            kept.append((number, cells))

    def values(wanted: str) -> list[str]:
        return [_cell(header, cells, wanted) for _, cells in kept]

    reading = _Reading(
        header,
        options,
        mark=options.decimal or decimal_mark(values("cost"), values("impressions")),
        is_day_first=_day_first(header, values("date")),
    )
    rows: list[Spent] = []
    refusals: list[Refusal] = []
    nameless: list[tuple[int, Decimal]] = []
    for number, cells in kept:
        try:
            if not any(_cell(header, cells, of) for of in ("campaign", "campaign_id")):
                nameless.append((number, reading.cost_of(cells)))
                continue
            rows.append(reading.spent(cells))
        except _Unreadable as bad:
            refusals.append(
                Refusal(number, bad.column, bad.value, bad.code, bad.message, bad.remedy)
            )
    whole = sum((row.cost for row in rows), Decimal(0))
    for number, cost in nameless:
        # Meta's line of totals has no label: it is one when it says what the others come to.
        if rows and abs(cost - whole) <= Decimal("0.005") * (len(rows) + 1):
            totals += 1
            continue
        refusals.append(
            Refusal(
                number, "campaign", "", "SCHEMA_INVALID",
                f"{cost} were spent for no campaign, and are not what the other rows come to",
                "Export by campaign, with its name or id in every row.",
            )
        )  # fmt: skip
    refusals.sort(key=lambda refusal: refusal.line)
    return Sheet(name, tuple(rows), tuple(refusals), totals)


def _day_first(header: Header, days: Sequence[str]) -> bool | None:
    found = day_first(days)
    if found is None and "start date (in utc)" in map(plain_name, header.cells):
        # LinkedIn's English export puts the month first.
        return False
    return found


def _cell(header: Header, cells: Sequence[str], wanted: str) -> str:
    place = header.at.get(wanted)
    return "" if place is None or place >= len(cells) else cells[place].strip()


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the rows of one table, in the manner all of them are written."""

    header: Header
    options: Options
    mark: str | None
    is_day_first: bool | None

    def spent(self, cells: Sequence[str]) -> Spent:
        campaign_id, campaign = self._text(cells, "campaign_id"), self._text(cells, "campaign")
        platform = self._platform(cells)
        return Spent(
            date=self._day(cells),
            platform=platform,
            account=self._text(cells, "account"),
            campaign_id=campaign_id or campaign,
            campaign=campaign or campaign_id,
            channel=self._channel(cells, platform),
            currency=self._currency(cells),
            cost=self.cost_of(cells),
            impressions=self._count(cells, "impressions"),
            clicks=self._count(cells, "clicks"),
        )

    def cost_of(self, cells: Sequence[str]) -> Decimal:
        is_micros = "cost" not in self.header.at
        field_name = "cost_micros" if is_micros else "cost"
        text = self._text(cells, field_name)
        try:
            return amount(text, self.mark) / (MICROS if is_micros else 1)
        except ValueError as error:
            remedy = "Correct the amount in the file and export it again."
            if "two ways" in str(error):
                remedy = "Set HANDOFF_AD_SPEND_DECIMAL to . or , as the file has it."
            raise self._bad(field_name, text, "FIELD_MISMATCH", str(error), remedy) from error

    def _day(self, cells: Sequence[str]) -> date:
        text, ends = self._text(cells, "date"), self._text(cells, "date_end")
        if ends and ends != text:
            message = f"stands for all days to {ends}"
            raise self._bad(
                "date", text, "DATE_UNPARSABLE", message, "Export with a breakdown by day."
            )
        try:
            return day(text, self.is_day_first, self.options.date_format)
        except ValueError as error:
            remedy = (
                "Write it as 2026-03-31, or say how it is written: HANDOFF_AD_SPEND_DATE_FORMAT."
            )
            raise self._bad("date", text, "DATE_UNPARSABLE", str(error), remedy) from error

    def _platform(self, cells: Sequence[str]) -> str:
        told = self._text(cells, "platform") or self.options.platform or self.header.platform or ""
        plain = plain_name(told).replace("_", " ")
        if not plain:
            raise self._bad(
                "platform", "", "SCHEMA_INVALID", "is in no column, and no column's name tells it",
                "Add a column Platform, or set HANDOFF_AD_SPEND_PLATFORM.",
            )  # fmt: skip
        return PLATFORMS.get(plain) or re.sub(r"\W+", "_", plain)

    def _channel(self, cells: Sequence[str], platform: str) -> str | None:
        told = self._text(cells, "channel")
        return re.sub(r"\W+", "_", plain_name(told)) if told else CHANNELS.get(platform)

    def _currency(self, cells: Sequence[str]) -> str:
        told = self._text(cells, "currency")
        code = (told or self.header.currency or self.options.currency or "USD").upper()
        if not re.fullmatch("[A-Z]{3}", code):
            remedy = "Write it as a code of ISO 4217, such as EUR."
            raise self._bad("currency", told, "FIELD_MISMATCH", "is no currency", remedy)
        return code

    def _count(self, cells: Sequence[str], name: str) -> int | None:
        text = self._text(cells, name)
        if text.casefold() in EMPTY:
            return None
        try:
            return count(text)
        except ValueError as error:
            remedy = "Correct the number in the file and export it again."
            raise self._bad(name, text, "FIELD_MISMATCH", str(error), remedy) from error

    def _text(self, cells: Sequence[str], name: str) -> str:
        return _cell(self.header, cells, name)

    def _bad(self, name: str, value: str, code: str, message: str, remedy: str) -> _Unreadable:
        place = self.header.at.get(name)
        column = name if place is None else self.header.cells[place]
        return _Unreadable(column, value[:80], code, f"{column} {value[:80]!r} {message}", remedy)


def _refused(name: str, code: str, message: str, remedy: str) -> Sheet:
    return Sheet(name, (), (Refusal(0, "", "", code, message, remedy),))
