"""Who may be subscribed and where a delivery may go; when it is tried again; what Standard Webhooks says of a signature."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.addresses import resolve, url_fault
from ingestion.subscribers.attempt import signed_headers
from ingestion.subscribers.schedule import hold_delay, retry_after_seconds, retry_delay
from ingestion.subscribers.subscription import RETRY_SECONDS, DeliveryPolicy, Subscriber
from models.policies.load import load_policies
from models.policies.subscribers import load_subscribers

ONE = {
    "name": "one",
    "description": "a test",
    "owner": "me",
    "url": "https://hooks.example.com/in",
    "kinds": "[mql.reached]",
}


def written(folder: Path, *subscribers: dict[str, Any], delivery: str = "") -> Path:
    lines = [f"delivery: {delivery}"] if delivery else []
    lines.append("subscribers:")
    for each in subscribers:
        rows = [f"    {name}: {value}" for name, value in each.items()]
        lines += ["  -" + rows[0][3:], *rows[1:]]
    (folder / "subscribers.yml").write_text("\n".join(lines) + "\n")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(HandoffError) as caught:
        load_subscribers(folder)
    assert caught.value.code == "POLICY_INVALID"
    return f"{caught.value.message} {caught.value.remedy}"


def test_the_file_that_comes_with_handoff_names_nobody_and_is_no_policy() -> None:
    assert load_subscribers().by_name == {}
    assert "subscribers" not in load_policies().versions


def test_without_a_file_nobody_is_told(tmp_path: Path) -> None:
    assert load_subscribers(tmp_path).by_name == {}


def test_defaults_are_those_of_standard_webhooks(tmp_path: Path) -> None:
    subscribers = load_subscribers(written(tmp_path, ONE))
    assert subscribers.get("one").url == "https://hooks.example.com/in"
    assert subscribers.policy == DeliveryPolicy()
    assert subscribers.policy.most_attempts == 10
    assert (
        load_subscribers(
            written(tmp_path, ONE, delivery="{timeout_seconds: 5}")
        ).policy.timeout_seconds
        == 5
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "http://hooks.example.com/in"}, "everybody else needs https"),
        ({"url": "ftp://hooks.example.com/in"}, "an https:// address expected"),
        ({"url": "https://user:pass@hooks.example.com/"}, "secrets belong into the environment"),
        ({"url": "https://10.1.2.3/in"}, "no public address"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "never delivered to"),
        ({"url": "https://[fd00::1]/in"}, "no public address"),
        ({"url": "https://[::ffff:10.0.0.1]/in"}, "no public address"),
        ({"url": "https://hooks.example.com:99999/in"}, "Port out of range"),
        ({"kinds": "[mql.reached, lead.lost]"}, "lead.lost"),
        ({"kinds": "[]"}, "kinds"),
        ({"name": "Not A Name"}, "lower-case letters"),
        ({"personal_fields": "[email]"}, "names no consent_destination"),
        ({"personal_fields": "[birth_date]", "consent_destination": "salesforce"}, "birth_date"),
        ({"secret": "whsec_abc"}, "unknown field 'secret'"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_what_may_not_be_written_is_said_with_its_line(
    tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    text = refusal(written(tmp_path, {**ONE, **changed}))
    assert said in text
    assert "subscribers.yml:" in text


def test_a_name_stands_once(tmp_path: Path) -> None:
    assert "'one' is named twice" in refusal(written(tmp_path, ONE, ONE))


@pytest.mark.parametrize(
    ("url", "private", "is_fine"),
    [
        ("http://127.0.0.1:8080/in", False, True),
        ("http://localhost:8080/in", False, True),
        ("http://[::1]:8080/in", False, True),
        ("https://127.0.0.1/in", False, True),
        ("https://10.1.2.3/in", True, True),
        ("https://192.168.0.1/in", True, True),
        ("http://10.1.2.3/in", True, False),
        ("https://169.254.169.254/in", True, False),
        ("https://0.0.0.0/in", True, False),
        ("https://224.0.0.1/in", True, False),
        ("https://[64:ff9b::a9fe:a9fe]/in", True, False),
        ("https://[2002:a9fe:a9fe::1]/in", True, False),
    ],
)
def test_only_what_is_meant_is_reached(url: str, private: bool, is_fine: bool) -> None:
    assert (url_fault(url, allow_private=private) is None) is is_fine


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "10.0.0.1"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:169.254.169.254"],
    ],
)
def test_a_host_with_any_address_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    async def told(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in answers]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", told)
    with pytest.raises(HandoffError) as caught:
        asyncio.run(resolve("hooks.example.com", 443, allow_private=False))
    assert caught.value.code == "ADDRESS_REFUSED"


def test_a_signature_is_the_published_one() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1_614_265_330, UTC)
    headers = signed_headers((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "held",
    [
        "",
        " , ",
        "secret",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,oops",
    ],
)
def test_what_is_no_secret_signs_nothing_and_is_not_shown(held: str) -> None:
    subscriber = Subscriber("one", "https://hooks.example.com", ("mql.reached",))
    with pytest.raises(HandoffError) as caught:
        subscriber.secrets({"HANDOFF_SUBSCRIBER_SECRET_ONE": held})
    assert caught.value.code == "SUBSCRIBER_SECRET_INVALID"
    assert "oops" not in caught.value.message


def test_ten_attempts_in_three_days_and_never_before_what_the_receiver_asked_for() -> None:
    policy, chance = DeliveryPolicy(), random.Random(7)
    for attempt, planned in enumerate(RETRY_SECONDS, start=1):
        for _ in range(50):
            delay = retry_delay(policy, attempt, None, chance)
            assert delay is not None
            assert planned * 0.8 <= delay <= planned * 1.2
            asked = retry_delay(policy, attempt, planned * 2, chance)
            assert asked is not None
            assert asked >= min(planned * 2, 86_400)
    assert retry_delay(policy, 10, None, chance) is None
    assert 3 <= sum(RETRY_SECONDS) / 86_400 <= 3.5
    # A receiver cannot put itself off for years.
    forever = retry_delay(policy, 1, 1e9, chance)
    assert forever is not None
    assert forever <= 86_400 * 1.1


def test_holds_grow_and_end() -> None:
    chance = random.Random(7)
    holds = [hold_delay(number, None, chance) for number in range(1, 40)]
    assert holds[0] < 7
    assert max(holds) <= 900 * 1.2
    assert hold_delay(1, 3_600, chance) >= 3_600


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 5 ", 5),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("\uff11\uff12", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, 60.0) == seconds
