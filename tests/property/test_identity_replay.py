"""Whose record each record was held to be, against a look at every instant on its own; and what was known never changes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.matching import replay as subject
from models.matching.held_apart import join_except_apart
from models.matching.replay import Belonging, Period, replay

Told = tuple[
    dict[int, int], list[list[Period]], list[tuple[int, int, int, int | None]], dict[str, Any]
]
INSTANTS = st.integers(0, 8)


@st.composite
def told_of(draw: st.DrawFn) -> Told:
    """Records, what they carry from when to when, and pairs held apart for a time."""
    born = sorted(draw(st.lists(INSTANTS, min_size=1, max_size=6)))
    births = {100 + position: instant for position, instant in enumerate(born)}
    records = list(births)
    # Keys say nothing of who came first.
    names = dict(zip(records, draw(st.permutations(range(1, len(records) + 1))), strict=True))
    things: list[list[Period]] = []
    for _ in range(draw(st.integers(1, 4))):
        periods: list[Period] = []
        for record in records:
            turns = sorted(draw(st.sets(st.integers(births[record], 9), max_size=3)))
            for start, end in zip(turns[::2], [*turns[1::2], None], strict=False):
                periods.append((names[record], start, end))
        things.append(draw(st.permutations(periods)))
    apart = []
    for left, right in draw(st.lists(st.tuples(*[st.sampled_from(records)] * 2), max_size=2)):
        start = draw(st.integers(max(births[left], births[right]), 9))
        if left != right:
            pair = sorted((names[left], names[right]))
            end = draw(st.none() | st.integers(start + 1, 11))
            apart.append((pair[0], pair[1], start, end))
    known = {pair[:2]: pair for pair in apart}
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more["limits"] = {"email": draw(st.integers(1, 2))}
        # Every other thing is an address; the last one is a match, whatever they own.
        more["match_count"] = 1
        more["owned"] = [
            (who, "email", number, start, end)
            for number, periods in enumerate(things[:-1:2])
            for who, start, end in periods
        ]
    return {names[record]: births[record] for record in records}, things, list(known.values()), more


def replayed(told: Told) -> list[Belonging]:
    births, things, apart, more = told
    return replay(births, things, apart, **more)


def lasts(start: int, end: int | None, instant: int) -> bool:
    return start <= instant and (end is None or end > instant)


def assert_as_at_every_instant(told: Told, rows: list[Belonging]) -> None:
    births, things, apart, more = told
    first_match = len(things) - more.get("match_count", 0)
    place = {record: position for position, record in enumerate(births)}
    for instant in range(12):
        alive = [record for record, born in births.items() if born <= instant]
        carried = [
            sorted((who for who, *when in thing if lasts(*when, instant)), key=place.__getitem__)
            for thing in things
        ]
        foes = [(left, right) for left, right, *when in apart if lasts(*when, instant)]
        owned = [own[:3] for own in more.get("owned", ()) if lasts(*own[3:], instant)]
        expected = defaultdict(set)
        joined = join_except_apart(
            alive, carried[:first_match], foes, owned, more.get("limits"), carried[first_match:]
        )
        for record, group in zip(alive, joined, strict=True):
            expected[group].add(record)
        groups = {min(group, key=place.__getitem__): group for group in expected.values()}
        found = defaultdict(set)
        for row in rows:
            if lasts(row.known_from, row.known_to, instant):
                found[row.root].add(row.record)
                here = row.record
                for thing, above in row.path:
                    assert {here, above} <= set(carried[thing]) & groups[row.root]
                    here = above
                assert here == row.root
        assert found == groups, instant


def assert_each_row_says_something_new(rows: list[Belonging]) -> None:
    for _, own in groupby(rows, key=lambda row: row.record):
        former = None
        for row in own:
            assert row.known_to is None or row.known_from < row.known_to
            if former is not None:
                assert former.known_to == row.known_from
                assert (former.root, former.path) != (row.root, row.path)
            former = row


def until(told: Told, instant: int) -> Told:
    births, things, apart, more = told
    if "owned" in more:
        owned = [
            (*own, start, end if end is not None and end <= instant else None)
            for *own, start, end in more["owned"]
            if start <= instant
        ]
        more = more | {"owned": owned}
    return (
        {record: born for record, born in births.items() if born <= instant},
        [
            [
                (who, start, end if end is not None and end <= instant else None)
                for who, start, end in thing
                if start <= instant
            ]
            for thing in things
        ],
        [
            (left, right, start, end if end is not None and end <= instant else None)
            for left, right, start, end in apart
            if start <= instant
        ],
        more,
    )


@given(told_of())
@settings(max_examples=400, deadline=None)
def test_at_every_instant_it_is_what_a_look_at_that_instant_says(told: Told) -> None:
    rows = replayed(told)
    assert_as_at_every_instant(told, rows)
    assert_each_row_says_something_new(rows)


@given(told_of(), INSTANTS)
@settings(max_examples=400, deadline=None)
def test_what_was_known_is_not_changed_by_what_comes(told: Told, instant: int) -> None:
    by_then = [
        replace(row, known_to=None if row.known_to is None or row.known_to > instant else row.known_to)
        for row in replayed(told)
        if row.known_from <= instant
    ]  # fmt: skip
    assert replayed(until(told, instant)) == by_then


def test_a_replay_that_forgets_links_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what comes to somebody who was there before links nobody."""
    joined = subject._World._join

    def forgetful(world: subject._World, coming: list[tuple[int, int]], instant: int) -> None:
        fresh = [(record, thing) for record, thing in coming if world.births[record] == instant]
        joined(world, fresh, instant)

    monkeypatch.setattr(subject._World, "_join", forgetful)
    with pytest.raises((AssertionError, KeyError, ExceptionGroup)):
        test_at_every_instant_it_is_what_a_look_at_that_instant_says()
