"""The sandbox signs as each vendor documents it: against the vendors' own examples, not our doors."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from ingestion.sandbox.webhook_formats import FORMATS, Message


def test_hubspots_signature_is_that_of_its_published_example() -> None:
    message = Message(
        "unused",
        "https://www.example.com/webhook_uri",
        b"{'example_field':'example_value'}",
        1,
        datetime.fromtimestamp(1_693_657_560, UTC),
    )
    headers = FORMATS["hubspot"].sign(message, "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy")
    assert headers == {
        "x-hubspot-signature-v3": "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
        "x-hubspot-request-timestamp": "1693657560000",
    }


def test_the_web_sites_signature_is_that_of_the_standards_example() -> None:
    message = Message(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "https://unsigned.example",
        b'{"test": 2432232314}',
        1,
        datetime.fromtimestamp(1_614_265_330, UTC),
    )
    headers = FORMATS["web"].sign(message, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_hubspot_counts_its_attempts_inside_the_notifications() -> None:
    body = orjson.dumps([{"eventId": 1, "attemptNumber": 0}, {"eventId": 2, "attemptNumber": 0}])
    third = orjson.loads(FORMATS["hubspot"].body_of(body, 3))
    assert [row["attemptNumber"] for row in third] == [2, 2]
    assert FORMATS["web"].body_of(body, 3) == body
