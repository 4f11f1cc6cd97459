"""Pacing of HubSpot's polls by its documented limits, on a clock of the test's own."""

from __future__ import annotations

import httpx
import pytest

from ingestion.connectors.hubspot.limits import AccountLimits

SEARCH = "crm/objects/2026-03/contacts/search"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body or {}, headers=named)


def test_no_second_holds_more_than_five_searches_however_they_come() -> None:
    clock = Clock()
    limits = AccountLimits(clock)
    sent = []
    for number in range(23):
        clock.now += limits.wait_seconds(SEARCH)
        sent.append(clock.now)
        clock.now += 0.3 if number % 7 == 0 else 0.01
    assert all(later - first >= 1.0 - 1e-9 for first, later in zip(sent, sent[5:], strict=False))
    # And no longer than that: five are sent at once.
    assert sent[4] - sent[0] < 0.4


def test_other_requests_are_not_counted_as_searches() -> None:
    limits = AccountLimits(Clock())
    assert [limits.wait_seconds("crm/owners/2026-03") for _ in range(20)] == [0.0] * 20


def test_a_used_up_interval_is_waited_out() -> None:
    clock = Clock()
    limits = AccountLimits(clock)
    told = {"x_hubspot_ratelimit_interval_milliseconds": "10000"}
    limits.note(answer(200, x_hubspot_ratelimit_remaining="40", **told))
    assert limits.wait_seconds("crm/owners/2026-03") == 0.0
    limits.note(answer(200, x_hubspot_ratelimit_remaining="1", **told))
    assert limits.wait_seconds("crm/owners/2026-03") == pytest.approx(10.0)
    clock.now += 10.0
    assert limits.wait_seconds("crm/owners/2026-03") == 0.0


def test_answers_without_limits_change_nothing() -> None:
    limits = AccountLimits(Clock())
    limits.note(answer(200))
    limits.note(answer(200, x_hubspot_ratelimit_remaining="none"))
    assert limits.wait_seconds(SEARCH) == 0.0


def test_the_daily_limit_is_named_and_not_waited_for() -> None:
    limits = AccountLimits(Clock())
    limits.note(
        answer(
            200, x_hubspot_ratelimit_daily="250000", x_hubspot_ratelimit_daily_remaining="0"
        )
    )  # fmt: skip
    error = limits.final(
        answer(429, {"policyName": "DAILY", "message": "You have reached your daily limit."})
    )
    assert error is not None and error.code == "QUOTA_EXHAUSTED"
    assert "0 of 250000 left" in error.message and "daily limit" in error.message
    assert "midnight" in (error.remedy or "")


@pytest.mark.parametrize(
    "refused",
    [
        answer(429, {"policyName": "TEN_SECONDLY_ROLLING"}),
        answer(429, ["unreadable"]),
        httpx.Response(429, text="<html>"),
        answer(503),
        answer(477, retry_after="30"),
        answer(477),
    ],
)
def test_what_passes_soon_is_repeated(refused: httpx.Response) -> None:
    assert AccountLimits(Clock()).final(refused) is None


def test_an_account_that_is_moved_for_hours_is_not_waited_for() -> None:
    error = AccountLimits(Clock()).final(answer(477, retry_after="86400"))
    assert error is not None and error.code == "UPSTREAM_UNAVAILABLE"
    assert "86400 s" in error.message
