"""Slices of a backlog grow and shrink until they take the seconds they may."""

from __future__ import annotations

import pytest

from orchestration.bulk_slices import LEAST_EVENTS, UNWATCHED, BulkSlices


@pytest.mark.parametrize("event_seconds", [0.00002, 0.0002, 0.0009])
def test_slices_come_to_take_the_seconds_they_may(event_seconds: float) -> None:
    slices = BulkSlices(2.0)
    slices.learn(5, 0, 1.5)
    for _ in range(8):
        size = slices.size(somebody_waits=True)
        assert size is not None
        slices.learn(size + 5, size, 1.5 + (size + 5) * event_seconds)
    assert slices.size(somebody_waits=True) == pytest.approx(2.0 / event_seconds, rel=0.01)
    watched = slices.size(somebody_waits=True)
    assert watched is not None
    assert slices.size(somebody_waits=False) == pytest.approx(UNWATCHED * watched, abs=UNWATCHED)


def test_a_batch_that_stood_still_costs_half_a_slice_at_most_and_a_backlog_always_shrinks() -> None:
    slices = BulkSlices(2.0)
    before = slices.size(somebody_waits=True)
    assert before is not None
    slices.learn(before, before, 600.0)
    assert slices.size(somebody_waits=True) == before // 2
    for _ in range(20):
        slices.learn(LEAST_EVENTS, LEAST_EVENTS, 600.0)
    assert slices.size(somebody_waits=True) == LEAST_EVENTS


def test_without_seconds_a_batch_takes_all_there_is() -> None:
    assert BulkSlices(0.0).size(somebody_waits=True) is None
