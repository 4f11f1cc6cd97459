"""Simulated windows with a planted cause: it is named first; and windows with none: hardly ever an alarm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drift.diagnosis import (
    ALARM_RATE,
    CAUSES,
    Carried,
    RuleChange,
    Window,
    diagnose,
    dispersion,
)

DAYS = 28
SOURCES = ("paid search", "organic", "event", "referral", "partner")
SHARES = np.asarray([0.4, 0.3, 0.15, 0.1, 0.05])
RATES = np.asarray([0.06, 0.10, 0.25, 0.15, 0.30])
# Share of people of each source whose title is known; six of ten MQLs would be none without it.
TITLED = np.asarray([0.85, 0.8, 0.5, 0.9, 0.95])
NEEDING = 0.6
WORLDS = 200


def window(
    random: np.random.Generator,
    *,
    records: float = 1000.0,
    joined: float = 0.3,
    shares: np.ndarray = SHARES,
    rates: np.ndarray = RATES,
    refused: float = 0.02,
    titled: np.ndarray = TITLED,
) -> Window:
    """People come day by day, some of them known; each becomes an MQL by the rate of the source."""
    daily = random.poisson(records / DAYS, DAYS)
    total = int(daily.sum())
    known = int(random.binomial(total, joined))
    leads = random.multinomial(total - known, shares)
    received = int(random.poisson(8 * records))
    return Window(
        records=total,
        joined=known,
        leads=dict(zip(SOURCES, map(int, leads), strict=True)),
        mqls=dict(zip(SOURCES, map(int, random.binomial(leads, rates)), strict=True)),
        received=received,
        refused=int(random.binomial(received, refused)),
        daily_records=tuple(map(int, daily)),
        filled={
            "job_title": dict(zip(SOURCES, map(int, random.binomial(leads, titled)), strict=True)),
            "country": dict(zip(SOURCES, map(int, random.binomial(leads, 0.97)), strict=True)),
        },
        # Whoever needs a country needs a title too: one missing is enough.
        carried=(
            (Carried(5.0, (("country", 10.0), ("job_title", 20.0))), 10),
            (Carried(15.0, (("country", 10.0), ("job_title", 20.0))), 50),
            (Carried(50.0, (("job_title", 20.0),)), 30),
            (Carried(3.0), 10),
        ),
    )


# What is planted beside what comes with it: more people of whom less is known, events that are missing.
PLANTED: dict[str, dict[str, Any]] = {
    "volume": {"records": 1400.0},
    "identity": {"joined": 0.15, "rates": RATES * 0.9},
    "source mix": {"shares": np.asarray([0.55, 0.3, 0.06, 0.06, 0.03])},
    "schema": {"refused": 0.12, "rates": RATES * 0.9},
    "schema, a field of one source": {
        "titled": TITLED * np.asarray([0.3, 1, 1, 1, 1]),
        "rates": RATES * np.asarray([1 - NEEDING * 0.7, 1, 1, 1, 1]),
    },
    "schema, a field of all": {"titled": TITLED * 0.5, "rates": RATES * (1 - NEEDING * 0.5)},
    "behaviour": {"rates": RATES * 0.35},
}


def ruled(random: np.random.Generator, current: Window) -> tuple[Window, RuleChange]:
    """A third of whoever the former rules made an MQL is none any more, and a few others are."""
    lost = {source: int(random.binomial(count, 0.33)) for source, count in current.mqls.items()}
    gained = int(random.poisson(2))
    mqls = {source: count - lost[source] for source, count in current.mqls.items()}
    mqls["organic"] += gained
    return replace(current, mqls=mqls), RuleChange("scoring v1 → v2", gained, sum(lost.values()))


@pytest.mark.parametrize("cause", [*PLANTED, "rule version"])
def test_the_planted_cause_is_named_first(cause: str) -> None:
    random = np.random.default_rng([*PLANTED, "rule version"].index(cause))
    named = 0
    for _ in range(WORLDS):
        before, rules = window(random), None
        now = window(random, **PLANTED.get(cause, {}))
        if cause == "rule version":
            now, rules = ruled(random, now)
        named += diagnose(before, now, rules).first == cause.split(",")[0]
    assert named / WORLDS >= 0.95


def test_without_a_cause_alarms_are_as_rare_as_is_said() -> None:
    random = np.random.default_rng(11)
    worlds = 1000
    alarms = sum(diagnose(window(random), window(random)).first is not None for _ in range(worlds))
    # By a binomial of the stated rate, no more than this in all but one run of a thousand.
    assert alarms <= 21
    assert ALARM_RATE == 0.01


def test_days_that_differ_by_more_than_chance_raise_no_alarm() -> None:
    """Weekends and campaigns: against them a plain comparison of counts is wrong, as the control shows."""
    random = np.random.default_rng(12)
    alarms = plain = 0
    for _ in range(200):
        windows = []
        for _ in range(2):
            told = window(random)
            daily = random.negative_binomial(2, 2 / (2 + 1000 / DAYS), DAYS)
            scale = int(daily.sum()) / told.records
            windows.append(replace(
                told, records=int(daily.sum()), joined=round(told.joined * scale), daily_records=tuple(map(int, daily)),
                leads={source: round(count * scale) for source, count in told.leads.items()}, filled={},
            ))  # fmt: skip
        before, now = windows
        alarms += "volume" in diagnose(before, now).significant
        bare = [replace(one, daily_records=()) for one in windows]
        plain += "volume" in diagnose(*bare).significant
    assert alarms / 200 <= 0.02
    assert plain / 200 > 0.2


def test_what_an_empty_field_costs_is_not_taken_for_what_people_did() -> None:
    """On average the schema's part is what was planted, and behaviour's is nothing; without counting fields it would be the other way round."""
    random = np.random.default_rng(14)
    parts: dict[str, list[float]] = {"schema": [], "behaviour": []}
    blind: list[float] = []
    for _ in range(WORLDS):
        before, now = window(random), window(random, **PLANTED["schema, a field of all"])
        for part in diagnose(before, now).parts:
            if part.cause in parts:
                parts[part.cause].append(part.mqls)
        bare = [replace(one, filled={}, carried=()) for one in (before, now)]
        blind += [part.mqls for part in diagnose(*bare).parts if part.cause == "behaviour"]
    planted = 700 * float(SHARES @ RATES) * NEEDING * 0.5
    assert np.mean(parts["schema"]) == pytest.approx(-planted, rel=0.15)
    assert abs(np.mean(parts["behaviour"])) < 0.15 * planted
    assert np.mean(blind) == pytest.approx(-planted, rel=0.15)


def test_of_nine_leads_nothing_is_told() -> None:
    random = np.random.default_rng(13)
    few = window(random, records=13.0)
    told = diagnose(window(random), few)
    assert told.first is None
    assert told.too_few is not None and "at least 30 are needed" in told.too_few


def test_dispersion_is_one_for_chance_and_for_few_days() -> None:
    assert dispersion((5,) * 28) == 1.0
    assert dispersion((0, 50) * 5) == 1.0
    assert dispersion((0, 50) * 14) > 20


counts = st.integers(0, 60)


points = st.floats(-30, 30)
carried = st.builds(
    Carried,
    st.floats(0, 60),
    st.lists(
        st.tuples(st.sampled_from(["job_title", "country"]), points),
        unique_by=lambda pair: pair[0],
    ).map(tuple),
)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    leads = {source: draw(counts) for source in draw(st.sets(st.sampled_from(SOURCES)))}
    joined = draw(counts)
    received = draw(st.integers(0, 300))
    return Window(
        records=sum(leads.values()) + joined,
        joined=joined,
        leads=leads,
        mqls={source: draw(st.integers(0, count)) for source, count in leads.items()},
        received=received,
        refused=draw(st.integers(0, received)),
        daily_records=tuple(draw(st.lists(counts, max_size=20))),
        filled={
            name: {source: draw(st.integers(0, count)) for source, count in leads.items()}
            for name in draw(st.sets(st.sampled_from(["job_title", "country"])))
        },
        carried=tuple(draw(st.lists(st.tuples(carried, st.integers(1, 9)), max_size=4))),
    )


@given(windows(), windows(), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_the_parts_sum_up_to_the_difference_whatever_there_is(
    before: Window, now: Window, only_now: int, only_former: int, changed: bool
) -> None:
    rules = RuleChange("scoring v2", min(only_now, now.mql_count), only_former) if changed else None
    told = diagnose(before, now, rules)
    assert [part.cause for part in told.parts] == list(CAUSES)
    assert sum(part.mqls for part in told.parts) == pytest.approx(told.now - told.before, abs=1e-9)
    assert all(part.p_value is None or 0 <= part.p_value <= 1.000001 for part in told.parts)
