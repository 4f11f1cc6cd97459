"""Splits a change of the number of MQLs between two windows into causes that sum up to it, and says which of them is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Literal

import numpy as np

from models.drift.distributions import one_share

CauseName = Literal["volume", "identity", "source mix", "schema", "rule version", "behaviour"]

# All false alarms together; each cause has an equal part of it (Bonferroni).
ALARM_RATE = 0.01
CAUSES: tuple[CauseName, ...] = (
    "volume",
    "identity",
    "source mix",
    "schema",
    "rule version",
    "behaviour",
)
# Cells of fewer expected leads are put together, or the test of the mix is none.
_LEAST_EXPECTED = 5.0
_FEWEST_DAYS = 14
# However many fields go empty, somebody is an MQL by what they did: what is left is not taken for nothing.
_LEAST_LEFT = 0.05


@dataclass(frozen=True, slots=True)
class Carried:
    """How far an MQL was above the threshold when it reached it, and what each field of the person gave: points."""

    above: float
    points: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """What there was in one window. `records`: new records of people, of which `joined` turned out to be somebody known; `leads` and `mqls` by
    source: new people, and those of them who became MQLs in time; `received` and `refused`: events of senders; `daily_records`: records by day;
    `filled`: by field a rule asks about and source, new people of whom it is known; `carried`: MQLs by what carried them."""

    records: int
    joined: int
    leads: Mapping[str, int]
    mqls: Mapping[str, int]
    received: int
    refused: int
    daily_records: tuple[int, ...] = ()
    filled: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    carried: tuple[tuple[Carried, int], ...] = ()

    @property
    def people(self) -> int:
        """New people."""
        return sum(self.leads.values())

    @property
    def mql_count(self) -> int:
        """MQLs among them."""
        return sum(self.mqls.values())


@dataclass(frozen=True, slots=True)
class RuleChange:
    """MQLs of the current window that only the versions of now make, and only the former ones made: from a replay."""

    told: str
    only_now: int
    only_former: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one cause did: `mqls` more or fewer; `p_value` of seeing as much by chance (None: there was nothing to test); `evidence` in words."""

    cause: CauseName
    mqls: float
    p_value: float | None
    is_significant: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """MQLs now and before; the parts sum up to the difference. `first` is the cause that chance explains least, None while none is
    significant; `too_few` says why nothing can be told."""

    before: int
    now: int
    parts: tuple[Part, ...]
    first: CauseName | None
    too_few: str | None = None
    alarm_rate: float = ALARM_RATE
    significant: tuple[CauseName, ...] = field(default=())


def diagnose(
    before: Window,
    now: Window,
    rules: RuleChange | None = None,
    *,
    minimum_sample: int = 30,
    alarm_rate: float = ALARM_RATE,
) -> Diagnosis:
    """Compare two windows of the same length. MQLs are records x people a record x share of each source x rate within it; each cause is one of these
    moving from what it was to what it is, in this order, given those before it. The rate within a source is split further: what other rules
    did (from a replay, exactly), what events that were refused cost (as if they were like the others) and fields that are known of fewer
    people (by how many MQLs of before needed them), and the rest, which is what people did.
    """
    parts = [
        _part(name, effect, p_value, evidence, alarm_rate)
        for name, effect, p_value, evidence in _causes(before, now, rules)
    ]
    significant = sorted(
        (part for part in parts if part.is_significant),
        key=lambda part: (part.p_value, -abs(part.mqls)),
    )
    fewest = min(before.people, now.people)
    too_few = (
        f"{before.people} new people before and {now.people} now; at least {minimum_sample} are needed to tell anything"
        if fewest < minimum_sample
        else None
    )
    if too_few:
        parts = [Part(part.cause, part.mqls, part.p_value, False, part.evidence) for part in parts]
        significant = []
    return Diagnosis(
        before=before.mql_count,
        now=now.mql_count,
        parts=tuple(parts),
        first=significant[0].cause if significant else None,
        too_few=too_few,
        alarm_rate=alarm_rate,
        significant=tuple(part.cause for part in significant),
    )


def _part(
    name: CauseName, effect: float, p_value: float | None, evidence: str, alarm_rate: float
) -> Part:
    is_significant = p_value is not None and p_value < alarm_rate / len(CAUSES)
    return Part(name, effect, p_value, is_significant, evidence)


def _causes(
    before: Window, now: Window, rules: RuleChange | None
) -> list[tuple[CauseName, float, float | None, str]]:
    rate = _share(before.mql_count, before.people)
    rates = {
        source: _share(before.mqls.get(source, 0), leads)
        for source, leads in before.leads.items()
        if leads
    }
    per_record = _share(before.people, before.records, 1.0)
    # Each step from what there was to what there is; the last of them ends at what would have been made of the people of now as before.
    volume = (now.records - before.records) * per_record * rate
    identity = (now.people - now.records * per_record) * rate
    as_before = sum(leads * rates.get(source, rate) for source, leads in now.leads.items())
    mix = as_before - now.people * rate
    former = now.mql_count - (rules.only_now - rules.only_former if rules else 0)
    kept = _share(before.received - before.refused, before.received, 1.0)
    kept_now = _share(now.received - now.refused, now.received, 1.0)
    left = _left_by_fields(before, now) * (kept_now / kept if kept else 1.0)
    expected = as_before * left
    return [
        ("volume", volume, *_volume_test(before, now)),
        ("identity", identity, *_identity_test(before, now)),
        ("source mix", mix, *_mix_test(before, now)),
        ("schema", expected - as_before, *_schema_test(before, now)),
        ("rule version", float(now.mql_count - former), *_rules_test(rules)),
        ("behaviour", former - expected, *_behaviour_test(before, now, former, expected)),
    ]


def _share(part: float, whole: float, default: float = 0.0) -> float:
    return part / whole if whole else default


def _volume_test(before: Window, now: Window) -> tuple[float | None, str]:
    """Of all records, is half of them now? Exactly, after thinning by how much more days differ than by chance."""
    from scipy.stats import binomtest

    told = f"{before.records:,} new records before, {now.records:,} now"
    spread = dispersion(before.daily_records)
    if spread > 1.05:
        told += f"; days differ {spread:.1f} times as much as by chance"
    total = round((before.records + now.records) / spread)
    if not total:
        return None, told
    return float(binomtest(min(total, round(now.records / spread)), total).pvalue), told


def dispersion(daily: tuple[int, ...]) -> float:
    """Variance of days against their mean, 1 at least: campaigns and weekends make days differ by more than chance."""
    if len(daily) < _FEWEST_DAYS or not sum(daily):
        return 1.0
    return max(1.0, float(np.var(daily, ddof=1) / np.mean(daily)))


def _identity_test(before: Window, now: Window) -> tuple[float | None, str]:
    told = (
        f"{_share(before.joined, before.records):.1%} of new records were of somebody known before, "
        f"{_share(now.joined, now.records):.1%} are now"
    )
    return _fisher(before.joined, before.records, now.joined, now.records), told


def _left_by_fields(before: Window, now: Window) -> float:
    """Share of the MQLs of before that there would be if each field were known of as few people, or as many, as now, whoever they are."""
    total = sum(count for _, count in before.carried)
    lost: dict[str, float] = {}
    for name, given in now.filled.items():
        if expected := _filled_as_before(before, now, name):
            lost[name] = 1 - sum(given.values()) / expected
    if not total or not lost:
        return 1.0
    left = sum(count * _still_above(each, lost) for each, count in before.carried)
    return max(left / total, _LEAST_LEFT)


def _still_above(carried: Carried, lost: Mapping[str, float]) -> float:
    """Chance that what is left of the points is enough, each field being lost by itself; of fields that more have now, more than one."""
    held = [(points, lost[name]) for name, points in carried.points if name in lost and points > 0]
    chance = 0.0
    for taken in product((False, True), repeat=len(held)):
        if (
            sum(points for (points, _), is_taken in zip(held, taken, strict=True) if is_taken)
            <= carried.above
        ):
            chance += prod(
                share if is_taken else 1 - share
                for (_, share), is_taken in zip(held, taken, strict=True)
            )
    return chance


def _filled_as_before(before: Window, now: Window, name: str) -> float:
    """Of how many people of now the field would be known, if sources gave it as before."""
    filled = before.filled.get(name, {})
    overall = _share(sum(filled.values()), before.people)
    return sum(
        leads * _share(filled.get(source, 0), before.leads.get(source, 0), overall)
        for source, leads in now.leads.items()
    )


def _schema_test(before: Window, now: Window) -> tuple[float | None, str]:
    """Events that are refused, or a field that sources give no more: what is moved by the least chance, corrected for looking at all of them."""
    told: list[tuple[float, str]] = []
    refused = _fisher(before.refused, before.received, now.refused, now.received)
    of_events = (
        f"{_share(before.refused, before.received):.1%} of events were refused before, "
        f"{_share(now.refused, now.received):.1%} are now"
    )
    if refused is not None:
        told.append((refused, of_events))
    for name, filled in before.filled.items():
        given = now.filled.get(name, {})
        p_value = one_share(
            (filled.get(source, 0), before.leads.get(source, 0), given.get(source, 0), leads)
            for source, leads in now.leads.items()
        )
        if p_value is not None:
            share = _share(_filled_as_before(before, now, name), now.people)
            is_now = _share(sum(given.values()), now.people)
            told.append(
                (
                    p_value,
                    f"'{name}' was known of {share:.1%} of people of these sources, and is of {is_now:.1%}",
                )
            )
    if not told:
        return None, of_events
    # The first of equals: refused events.
    p_value, words = min(told, key=lambda pair: pair[0])
    return min(1.0, p_value * len(told)), words


def _rules_test(rules: RuleChange | None) -> tuple[float | None, str]:
    """Whoever only one of the versions makes an MQL: as many on either side, if they differ by chance (McNemar)."""
    from scipy.stats import binomtest

    if rules is None:
        return None, "no policy has changed"
    told = f"{rules.told}: {rules.only_now:,} only by it, {rules.only_former:,} only by the former"
    total = rules.only_now + rules.only_former
    return (float(binomtest(rules.only_now, total).pvalue) if total else 1.0), told


def _mix_test(before: Window, now: Window) -> tuple[float | None, str]:
    """Are people spread over sources as before? Sources of few people are taken together."""
    from scipy.stats import chi2_contingency

    sources = sorted(before.leads.keys() | now.leads.keys())
    counts = np.asarray(
        [[window.leads.get(source, 0) for source in sources] for window in (before, now)],
        dtype=np.float64,
    )
    moved = _largest_move(sources, counts)
    if counts.sum(axis=1).min() == 0:
        return None, moved
    smaller = counts.sum(axis=1).min() / counts.sum()
    is_large = counts.sum(axis=0) * smaller >= _LEAST_EXPECTED
    table = np.column_stack([counts[:, is_large], counts[:, ~is_large].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return None, moved
    return float(chi2_contingency(table, correction=False).pvalue), moved


def _largest_move(sources: list[str], counts: np.ndarray) -> str:
    if not sources or counts.sum(axis=1).min() == 0:
        return "no people in one of the windows"
    shares = counts / counts.sum(axis=1, keepdims=True)
    place = int(np.abs(shares[1] - shares[0]).argmax())
    name = sources[place] or "not said"
    return f"'{name}' was {shares[0, place]:.1%} of new people, and is {shares[1, place]:.1%}"


def _behaviour_test(
    before: Window, now: Window, former: float, expected: float
) -> tuple[float | None, str]:
    """Against what the people of now would have done as those of before did, source by source."""
    told = (
        f"{_share(expected, now.people):.1%} of these people would have become MQLs as before, by as many events and fields as there "
        f"are; {_share(former, now.people):.1%} did, other rules aside"
    )
    of_before = round(_share(expected, now.people) * before.people)
    found = min(now.people, max(0, round(former)))
    return _fisher(min(of_before, before.people), before.people, found, now.people), told


def _fisher(part: int, whole: int, other_part: int, other_whole: int) -> float | None:
    """Exact test of two shares being one."""
    from scipy.stats import fisher_exact

    if not whole or not other_whole:
        return None
    table = [[part, whole - part], [other_part, other_whole - other_part]]
    return float(fisher_exact(table).pvalue)
