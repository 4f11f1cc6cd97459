"""The one time-zone database: the pinned `tzdata` package, for Python and, as rows, for SQL; what a
local time means to a record is said elsewhere."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

# Python would ask the operating system first, which has another release than the package. This binds
# the libraries too that make zones of their own.
zoneinfo.reset_tzpath(to=())
zoneinfo.ZoneInfo.clear_cache()

# Offsets as rows reach from here to here; beyond, SQL answers null.
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2070, 1, 1, tzinfo=UTC)

# What the footer of a zone's file says of later years (RFC 9636, 3.3) changes the offset twice a
# year at most, months apart: steps so short pass over none of it.
_STEP, _MINUTE = timedelta(days=28), timedelta(minutes=1)
# Zones whose files list no later change follow their footers from here on.
_FAR = datetime(2038, 1, 1, tzinfo=UTC)

# By footer: its changes from then on.
_later: dict[bytes, list[datetime]] = {}


@dataclass(frozen=True, slots=True)
class Offset:
    """`seconds` east of UTC, in force from `valid_from` (UTC).

    `local_from` is where it begins on the zone's own clock, without a zone: of a clock time that
    comes twice the first is meant, and one that is left out is read with the offset before (PEP 495
    with fold=0, and RFC 5545, 3.3.5).
    """

    time_zone: str
    valid_from: datetime
    local_from: datetime
    seconds: int


def release() -> str:
    """The IANA release that is pinned, e.g. 2026f."""
    from importlib import import_module

    return str(import_module("tzdata").IANA_VERSION)


@cache
def names() -> frozenset[str]:
    """Every zone of the release, old names (US/Pacific, Asia/Calcutta) among them."""
    from importlib import resources

    text = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(text.split())


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that name; ValueError, naming it, when the database has none."""
    if name not in names():
        raise ValueError(
            f"unknown time zone {name!r:.80}; expected an IANA name, for example Europe/Berlin"
        )
    return zoneinfo.ZoneInfo(name)


def offsets(name: str) -> list[Offset]:
    """Offsets of a zone from `FIRST` to `LAST`, oldest first; neighbours differ."""
    place = zone(name)
    found = [Offset(name, FIRST, _wall(FIRST), _seconds(FIRST, place))]
    for at in _candidates(_file(name), place):
        before, after = found[-1].seconds, _seconds(at, place)
        if after != before:
            wall = _wall(at) + timedelta(seconds=max(before, after))
            found.append(Offset(name, at, wall, after))
    first = found[0]
    found[0] = replace(first, local_from=first.local_from + timedelta(seconds=first.seconds))
    return found


def all_offsets() -> Iterator[Offset]:
    """`offsets` of every zone, by name."""
    # Half of the names are links: the same file under another name.
    known: dict[bytes, list[Offset]] = {}
    for name in sorted(names()):
        content = _file(name)
        if content not in known:
            known[content] = offsets(name)
        yield from (
            Offset(name, one.valid_from, one.local_from, one.seconds) for one in known[content]
        )


def _file(name: str) -> bytes:
    from importlib import resources

    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _candidates(content: bytes, place: zoneinfo.ZoneInfo) -> list[datetime]:
    """Instants in (`FIRST`, `LAST`) at which the offset may change, in order."""
    found = [at for at in _listed(content) if FIRST < at < LAST]
    footer = content.rsplit(b"\n", 2)[-2]
    # Without a comma the footer names one offset for ever.
    if b"," not in footer:
        return found
    last = found[-1] if found else FIRST
    if last >= _FAR:
        return [*found, *_stepped(last, LAST, place)]
    # A few dozen footers serve all zones.
    if footer not in _later:
        _later[footer] = list(_stepped(_FAR, LAST, place))
    return [*found, *_stepped(last, _FAR, place), *_later[footer]]


def _stepped(start: datetime, end: datetime, place: zoneinfo.ZoneInfo) -> Iterator[datetime]:
    """Changes after `start` and up to `end`, to the minute, which is as fine as rules are."""
    last, then = start, _seconds(start, place)
    while last < end:
        step = min(last + _STEP, end)
        now, then = then, _seconds(step, place)
        if now != then:
            early, late = 0, (step - last) // _MINUTE
            while late - early > 1:
                middle = (early + late) // 2
                same = _seconds(last + middle * _MINUTE, place) == now
                early, late = (middle, late) if same else (early, middle)
            yield last + late * _MINUTE
        last = step


def _listed(content: bytes) -> list[datetime]:
    """Transition times of the 64-bit block of a TZif file (RFC 9636, 3.1 and 3.2), those a datetime
    can hold and that may matter here."""
    header, sizes = 44, ">6l"
    utc, standard, leaps, times, types, letters = struct.unpack(sizes, content[20:header])
    # The first block is the same in 32 bits.
    start = header + times * 5 + types * 6 + letters + leaps * 8 + standard + utc
    (count,) = struct.unpack(">l", content[start + 32 : start + 36])
    stamps = struct.unpack(f">{count}q", content[start + header : start + header + count * 8])
    return [datetime.fromtimestamp(stamp, UTC) for stamp in stamps if stamp > FIRST.timestamp()]


def _seconds(at: datetime, place: zoneinfo.ZoneInfo) -> int:
    offset = at.astimezone(place).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _wall(at: datetime) -> datetime:
    return at.replace(tzinfo=None)
