"""Signatures of HubSpot's and the web site's webhooks: what is accepted, and everything that must be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from ingestion.connectors import signed_request
from ingestion.connectors.hubspot import webhook as hubspot
from ingestion.connectors.signed_request import SignedRequest
from ingestion.connectors.web import webhook as web
from ingestion.errors.catalog import HandoffError

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
URL = "https://in.example.com/webhooks/hubspot"
SECRET = "9c1b6c0e-6a5e-4a5c-9d4f-hubspot"
OTHER = "another-active-secret"
WEB_SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
WEB_OTHER = "whsec_" + base64.b64encode(b"q" * 24).decode()


def hubspot_request(
    secret: str = SECRET, at: datetime = NOW, body: bytes = b'[{"eventId": 1}]', url: str = URL
) -> SignedRequest:
    stamp = str(int(at.timestamp() * 1_000))
    signed = b"POST" + url.encode() + body + stamp.encode()
    signature = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
    return SignedRequest(
        "POST",
        url,
        {
            "x-hubspot-signature-v3": signature.decode(),
            "x-hubspot-request-timestamp": stamp,
        },
        body,
    )


def web_request(
    secret: str = WEB_SECRET, at: datetime = NOW, body: bytes = b'{"type":"form.submitted"}'
) -> SignedRequest:
    return SignedRequest(
        "POST",
        "https://in.example.com/webhooks/web",
        {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            # The library signs here, so our check is held to its reading of the standard.
            "webhook-signature": Webhook(secret).sign("msg_1", at, body.decode()),
        },
        body,
    )


def changed(request: SignedRequest, **headers: str) -> SignedRequest:
    return SignedRequest(request.method, request.url, dict(request.headers) | headers, request.body)


def refusal(module: Any, request: SignedRequest, secrets: list[str]) -> str | None:
    try:
        module.verify(request, secrets, NOW)
    except HandoffError as error:
        return error.code
    return None


@pytest.mark.parametrize("system", ["hubspot", "web"])
def test_every_flip_of_one_bit_is_refused(system: str) -> None:
    module, request, secret = {
        "hubspot": (hubspot, hubspot_request(), SECRET),
        "web": (web, web_request(), WEB_SECRET),
    }[system]
    assert refusal(module, request, [secret]) is None
    flips = 0
    for name, value in request.headers.items():
        raw = value.encode()
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            forged = changed(request, **{name: flipped.decode("latin-1")})
            assert refusal(module, forged, [secret]) is not None, (name, bit)
            flips += 1
    for bit in range(len(request.body) * 8):
        body = bytearray(request.body)
        body[bit // 8] ^= 1 << bit % 8
        forged = SignedRequest(request.method, request.url, request.headers, bytes(body))
        assert refusal(module, forged, [secret]) == "SIGNATURE_INVALID", ("body", bit)
        flips += 1
    assert flips > 500


def test_the_library_accepts_a_changed_signature_that_ours_refuses() -> None:
    # The last base64 digit of 32 bytes carries two bits nobody reads: why texts are compared.
    now = datetime.now(UTC)
    request = web_request(at=now)
    signature = request.headers["webhook-signature"]
    respelled = next(
        signature[:-2] + digit + "="
        for digit in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        if digit != signature[-2]
        and base64.b64decode(signature[3:-2] + digit + "=") == base64.b64decode(signature[3:])
    )
    forged = changed(request, **{"webhook-signature": respelled})
    Webhook(WEB_SECRET).verify(forged.body, dict(forged.headers))
    with pytest.raises(HandoffError) as raised:
        web.verify(forged, [WEB_SECRET], now)
    assert raised.value.code == "SIGNATURE_INVALID"


@pytest.mark.parametrize("make", [hubspot_request, web_request])
@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_a_signature_within_300_seconds_is_accepted(make: Any, seconds: int) -> None:
    module, secret = (hubspot, SECRET) if make is hubspot_request else (web, WEB_SECRET)
    request = make(at=NOW + timedelta(seconds=seconds))
    assert refusal(module, request, [secret]) is None


@pytest.mark.parametrize("make", [hubspot_request, web_request])
@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 86_400])
def test_a_signature_outside_300_seconds_is_expired(make: Any, seconds: int) -> None:
    module, secret = (hubspot, SECRET) if make is hubspot_request else (web, WEB_SECRET)
    request = make(at=NOW + timedelta(seconds=seconds))
    assert refusal(module, request, [secret]) == "SIGNATURE_EXPIRED"


@pytest.mark.parametrize("stamp", ["", "abc", "-5", "1e9", "1775044800.0", "٣", "0" * 40, "9" * 40])
def test_a_timestamp_that_is_no_plain_integer_is_refused(stamp: str) -> None:
    hub = changed(hubspot_request(), **{"x-hubspot-request-timestamp": stamp})
    form = changed(web_request(), **{"webhook-timestamp": stamp})
    assert refusal(hubspot, hub, [SECRET]) == "SIGNATURE_INVALID"
    assert refusal(web, form, [WEB_SECRET]) == "SIGNATURE_INVALID"


def test_while_keys_rotate_both_are_accepted_and_others_are_not() -> None:
    assert refusal(hubspot, hubspot_request(secret=SECRET), [OTHER, SECRET]) is None
    assert refusal(hubspot, hubspot_request(secret=OTHER), [OTHER, SECRET]) is None
    assert refusal(hubspot, hubspot_request(secret="gone"), [OTHER, SECRET]) == "SIGNATURE_INVALID"
    assert refusal(web, web_request(secret=WEB_SECRET), [WEB_OTHER, WEB_SECRET]) is None
    assert refusal(web, web_request(secret=WEB_OTHER), [WEB_OTHER, WEB_SECRET]) is None
    # A sender in rotation may send several signatures, and ones of schemes we do not speak.
    first, second = web_request(secret=WEB_OTHER), web_request()
    both = f"v1a,AAAA {first.headers['webhook-signature']} {second.headers['webhook-signature']}"
    assert refusal(web, changed(second, **{"webhook-signature": both}), [WEB_SECRET]) is None


def test_without_a_secret_everything_is_refused() -> None:
    assert refusal(hubspot, hubspot_request(secret=""), []) == "SIGNATURE_INVALID"
    assert refusal(web, web_request(), []) == "SIGNATURE_INVALID"


def test_no_key_ends_the_comparison_early(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(signed_request.hmac, "compare_digest", counting)
    request = web_request()
    sent = changed(request, **{"webhook-signature": request.headers["webhook-signature"] + " v1,x"})
    web.verify(sent, [WEB_SECRET, WEB_OTHER], NOW)
    assert len(compared) == 4


def test_hubspot_signs_the_address_with_some_characters_decoded() -> None:
    signed = hubspot_request(url="https://in.example.com/webhooks/hubspot?a=b:c/d@e")
    received = SignedRequest(
        "POST",
        "https://in.example.com/webhooks/hubspot?a=b%3Ac%2Fd%40e",
        signed.headers,
        signed.body,
    )
    assert refusal(hubspot, received, [SECRET]) is None


def test_a_malformed_secret_is_named_at_start_up() -> None:
    with pytest.raises(HandoffError, match="secret 2 of HANDOFF_WEBHOOK_SECRETS_WEB"):
        web.require_usable([WEB_SECRET, "whsec_not base64!"])
    assert refusal(web, web_request(), ["whsec_a", WEB_SECRET]) is None
