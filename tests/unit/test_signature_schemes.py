"""Every published signature is accepted, and no change of one bit in what it covers is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from ingestion.connectors import signed_request
from ingestion.connectors.calcom import webhook as calcom
from ingestion.connectors.calendly import webhook as calendly
from ingestion.connectors.hubspot import webhook as hubspot
from ingestion.connectors.marketo import webhook as marketo
from ingestion.connectors.salesforce import webhook as salesforce
from ingestion.connectors.signature_schemes import (
    GITHUB,
    SLACK,
    STRIPE,
    HeaderHmac,
    StandardWebhooks,
)
from ingestion.connectors.signed_request import SignedRequest
from ingestion.connectors.typeform import webhook as typeform
from ingestion.errors.catalog import HandoffError

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
URL = "https://in.example.com/webhooks/any?region=eu"
SECRET = "the-shared-secret"
BODY = '{"event":"invitee.created","name":"Zoë"}'.encode()
VECTORS = {
    "hubspot-v1-sdk",
    "hubspot-v2-docs-post",
    "hubspot-v3-sdk",
    "slack-docs",
    "github-docs",
    "standardwebhooks-1",
}
# Longer than this, and bits are sampled: every bit of each byte position would take minutes.
SHORT_BYTES = 64
SAMPLED_BITS = 400

Signed = tuple[Any, SignedRequest, str, datetime, tuple[str, ...]]


def request(headers: dict[str, str], body: bytes = BODY, **of: str) -> SignedRequest:
    return SignedRequest(of.get("method", "POST"), of.get("url", URL), headers, body)


def from_vector(row: dict[str, Any]) -> Signed:
    """The scheme, the request, its secret, the instant it is judged at, and what else it signs."""
    stamp = row.get("timestamp", STAMP)
    at = datetime.fromtimestamp(int(stamp[:10]), UTC)
    body, address = row["body"].encode(), {"url": row.get("uri", URL)}
    scheme: Any
    match row["id"]:
        case "hubspot-v1-sdk":
            scheme, headers = hubspot.V1, {"x-hubspot-signature": row["signature"]}
        case "hubspot-v2-docs-post":
            scheme, headers = hubspot.V2, {"x-hubspot-signature": row["signature"]}
        case "hubspot-v3-sdk":
            scheme = hubspot.V3
            headers = {
                "x-hubspot-signature-v3": row["signature"],
                "x-hubspot-request-timestamp": stamp,
            }
        case "slack-docs":
            scheme = SLACK
            headers = {"x-slack-signature": row["signature"], "x-slack-request-timestamp": stamp}
        case "github-docs":
            scheme, headers = GITHUB, {"x-hub-signature-256": row["signature"]}
        case "standardwebhooks-1":
            scheme = StandardWebhooks()
            headers = {
                "webhook-id": row["msg_id"],
                "webhook-timestamp": stamp,
                "webhook-signature": row["signature"],
            }
    also = ("method", "url") if "uri" in row else ()
    return scheme, request(headers, body, **address), row["secret"], at, also


def hexed(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def based(secret: str, signed: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


WHSEC = "whsec_" + base64.b64encode(b"k" * 24).decode()


def svix_headers(secret: str = WHSEC, family: str = "svix") -> dict[str, str]:
    return {
        f"{family}-id": "msg_1",
        f"{family}-timestamp": STAMP,
        f"{family}-signature": Webhook(secret).sign("msg_1", NOW, BODY.decode()),
    }


MADE: dict[str, tuple[Any, dict[str, str], str]] = {
    "svix": (StandardWebhooks(), svix_headers(), WHSEC),
    "stripe": (
        STRIPE,
        {"stripe-signature": f"t={STAMP},v1={hexed(SECRET, STAMP.encode() + b'.' + BODY)}"},
        SECRET,
    ),
    "calendly": (
        calendly,
        {
            "calendly-webhook-signature": (
                f"t={STAMP},v1={hexed(SECRET, STAMP.encode() + b'.' + BODY)}"
            )
        },
        SECRET,
    ),
    "calcom": (calcom, {"x-cal-signature-256": hexed(SECRET, BODY)}, SECRET),
    "typeform": (typeform, {"typeform-signature": f"sha256={based(SECRET, BODY)}"}, SECRET),
}


def refusal(scheme: Any, sent: SignedRequest, secrets: list[str], at: datetime = NOW) -> str | None:
    try:
        scheme.verify(sent, secrets, at)
    except HandoffError as error:
        return error.code
    return None


def flipped(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Every text with one bit of `raw` changed; of a long one a fixed sample."""
    bits: Any = range(len(raw) * 8)
    if len(raw) > SHORT_BYTES:
        bits = sorted(random.Random(7).sample(bits, min(SAMPLED_BITS, len(bits))))
    for bit in bits:
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)


def forgeries(sent: SignedRequest, also: tuple[str, ...]) -> Iterator[tuple[str, SignedRequest]]:
    for name, value in sent.headers.items():
        for bit, changed in flipped(value.encode()):
            headers = dict(sent.headers) | {name: changed.decode("latin-1")}
            yield f"{name}:{bit}", SignedRequest(sent.method, sent.url, headers, sent.body)
    for bit, changed in flipped(sent.body):
        yield f"body:{bit}", SignedRequest(sent.method, sent.url, sent.headers, changed)
    if "method" in also:
        for bit, changed in flipped(sent.method.encode()):
            method = changed.decode("latin-1")
            yield f"method:{bit}", SignedRequest(method, sent.url, sent.headers, sent.body)
    if "url" in also:
        for bit, changed in flipped(sent.url.encode()):
            url = changed.decode("latin-1")
            yield f"url:{bit}", SignedRequest(sent.method, url, sent.headers, sent.body)


def assert_no_forgery_passes(signed: Signed) -> None:
    scheme, sent, secret, at, also = signed
    assert refusal(scheme, sent, [secret], at) is None
    tried = 0
    for place, forged in forgeries(sent, also):
        assert refusal(scheme, forged, [secret], at) is not None, place
        tried += 1
    assert tried > 500
    assert refusal(scheme, sent, [secret + "x", "another"], at) == "SIGNATURE_INVALID"
    assert refusal(scheme, sent, [], at) == "SIGNATURE_INVALID"


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> dict[str, dict[str, Any]]:
    path = shared_data / "webhooks" / "signature_vectors.json"
    return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))}


def test_every_published_vector_has_a_scheme_here(vectors: dict[str, dict[str, Any]]) -> None:
    assert set(vectors) == VECTORS


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_a_published_vector_is_accepted_and_no_flip_of_one_bit_is(
    vectors: dict[str, dict[str, Any]], name: str
) -> None:
    assert_no_forgery_passes(from_vector(vectors[name]))


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_signed_request_is_accepted_and_no_flip_of_one_bit_is(name: str) -> None:
    scheme, headers, secret = MADE[name]
    assert_no_forgery_passes((scheme, request(headers), secret, NOW, ()))


def test_the_search_for_forgeries_finds_one_in_a_scheme_that_signs_less() -> None:
    # The negative control: a scheme that forgets the timestamp lets a changed one pass.
    careless = HeaderHmac(
        header="x-slack-signature",
        encoding="hex",
        prefix="v0=",
        stamp_header="x-slack-request-timestamp",
    )
    headers = {
        "x-slack-signature": f"v0={hexed(SECRET, BODY)}",
        "x-slack-request-timestamp": STAMP,
    }
    passed = [
        place
        for place, forged in forgeries(request(headers), ())
        if refusal(careless, forged, [SECRET]) is None
    ]
    assert passed
    assert all(place.startswith("x-slack-request-timestamp") for place in passed)


@pytest.mark.parametrize("name", sorted(MADE))
def test_while_a_secret_is_changed_the_old_and_the_new_are_both_good(name: str) -> None:
    scheme, headers, secret = MADE[name]
    other = "whsec_" + base64.b64encode(b"z" * 24).decode()
    assert refusal(scheme, request(headers), [other, secret]) is None
    assert refusal(scheme, request(headers), [secret, other]) is None
    assert refusal(scheme, request(headers), [other]) == "SIGNATURE_INVALID"


def test_a_sender_in_rotation_may_send_several_signatures() -> None:
    good, old = hexed(SECRET, STAMP.encode() + b"." + BODY), hexed("old", b"x")
    both = request({"stripe-signature": f"t={STAMP},v0=ignored,v1={old}, v1={good}"})
    assert refusal(STRIPE, both, [SECRET]) is None
    only_v0 = request({"stripe-signature": f"t={STAMP},v0={good}"})
    assert refusal(STRIPE, only_v0, [SECRET]) == "SIGNATURE_INVALID"


def test_two_timestamps_are_not_chosen_from() -> None:
    good = hexed(SECRET, STAMP.encode() + b"." + BODY)
    for given in (f"t={STAMP},t={STAMP},v1={good}", f"v1={good}", f"t=,v1={good}"):
        sent = request({"stripe-signature": given})
        assert refusal(STRIPE, sent, [SECRET]) == "SIGNATURE_INVALID"


def test_the_families_of_standard_webhooks_are_not_mixed() -> None:
    sent = svix_headers(family="webhook") | svix_headers()
    assert refusal(StandardWebhooks(), request(sent), [WHSEC]) is None
    mixed = dict(sent)
    del mixed["webhook-id"]
    assert refusal(StandardWebhooks(), request(mixed), [WHSEC]) == "SIGNATURE_INVALID"
    only_standard = StandardWebhooks(families=("webhook",))
    assert refusal(only_standard, request(svix_headers()), [WHSEC]) == "SIGNATURE_INVALID"


@pytest.mark.parametrize(("name", "window"), [("stripe", 300), ("calendly", 180), ("svix", 300)])
def test_a_signature_is_good_within_its_window_on_both_sides(name: str, window: int) -> None:
    scheme, headers, secret = MADE[name]
    for seconds in (-window, 0, window):
        at = NOW + timedelta(seconds=seconds)
        assert refusal(scheme, request(headers), [secret], at) is None
    for seconds in (-window - 1, window + 1, 86_400):
        at = NOW + timedelta(seconds=seconds)
        assert refusal(scheme, request(headers), [secret], at) == "SIGNATURE_EXPIRED"


def test_calcom_without_a_secret_proves_nothing() -> None:
    sent = request({"x-cal-signature-256": "no-secret-provided"})
    with pytest.raises(HandoffError, match="the sender has no secret"):
        calcom.verify(sent, ["no-secret-provided"], NOW)


def test_what_a_scheme_signs_is_the_instant_it_answers() -> None:
    assert STRIPE.verify(request(MADE["stripe"][1]), [SECRET], NOW) == NOW
    assert StandardWebhooks().verify(request(svix_headers()), [WHSEC], NOW) == NOW
    assert calcom.verify(request(MADE["calcom"][1]), [SECRET], NOW) is None


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({"x-handoff-secret": SECRET}, URL),
        ({}, f"{URL}&secret={SECRET}"),
        ({"authorization": "Basic " + base64.b64encode(f"any:{SECRET}".encode()).decode()}, URL),
    ],
)
def test_a_shared_secret_may_stand_in_three_places(headers: dict[str, str], url: str) -> None:
    sent = request(headers, url=url)
    assert refusal(salesforce, sent, ["old", SECRET]) is None
    assert refusal(salesforce, sent, ["old"]) == "SIGNATURE_INVALID"
    assert refusal(salesforce, sent, []) == "SIGNATURE_INVALID"
    # Marketo's stands in a header alone: an address is logged by whatever it passes.
    expected = None if headers.get("x-handoff-secret") else "SIGNATURE_INVALID"
    assert refusal(marketo, sent, [SECRET]) == expected


@pytest.mark.parametrize("given", ["", "Basic", "Basic !!!", "Basic YWJj", "Bearer " + SECRET])
def test_a_malformed_authorization_carries_no_secret(given: str) -> None:
    assert refusal(salesforce, request({"authorization": given}), [SECRET]) == "SIGNATURE_INVALID"


def test_every_bit_of_a_shared_secret_counts() -> None:
    for bit, changed in flipped(SECRET.encode()):
        sent = request({"x-handoff-secret": changed.decode("latin-1")})
        assert refusal(salesforce, sent, [SECRET]) == "SIGNATURE_INVALID", bit


def test_a_header_of_endless_signatures_is_not_worked_through() -> None:
    many = request({"stripe-signature": f"t={STAMP}" + ",v1=00" * 5_000})
    with pytest.raises(HandoffError, match="5001 signatures"):
        STRIPE.verify(many, [SECRET], NOW)


@pytest.mark.parametrize("name", sorted(MADE))
def test_no_match_ends_the_comparison_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []
    real = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        compared.append(real(left, right))
        return compared[-1]

    monkeypatch.setattr(signed_request.hmac, "compare_digest", counting)
    scheme, headers, secret = MADE[name]
    other = "whsec_" + base64.b64encode(b"z" * 24).decode()
    third = "whsec_" + base64.b64encode(b"y" * 24).decode()
    scheme.verify(request(headers), [secret, other, third], NOW)
    assert compared == [True, False, False]


# -- HubSpot's three versions ----------------------------------------------------------------


def hubspot_headers(version: str) -> dict[str, str]:
    address, stamp = b"POST" + URL.encode(), STAMP + "000"
    signed = {"v1": SECRET.encode() + BODY, "v2": SECRET.encode() + address + BODY}
    if version == "v3":
        return {
            "x-hubspot-signature-v3": based(SECRET, address + BODY + stamp.encode()),
            "x-hubspot-request-timestamp": stamp,
        }
    return {
        "x-hubspot-signature": hashlib.sha256(signed[version]).hexdigest(),
        "x-hubspot-signature-version": version,
    }


class _Any:
    verify = staticmethod(hubspot.verify_any_version)


class _Newest:
    verify = staticmethod(hubspot.verify)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_hubspots_undated_signatures_are_taken_only_where_they_are_switched_on(
    version: str,
) -> None:
    sent = request(hubspot_headers(version))
    assert refusal(_Newest, sent, [SECRET]) == "SIGNATURE_INVALID"
    assert refusal(_Any, sent, [SECRET]) is None
    assert refusal(_Any, sent, ["other"]) == "SIGNATURE_INVALID"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    "broken", [{"x-hubspot-signature-v3": "AAAA"}, {"x-hubspot-signature-v3": ""}]
)
def test_a_good_old_signature_does_not_rescue_a_bad_new_one(
    version: str, broken: dict[str, str]
) -> None:
    headers = hubspot_headers("v3") | hubspot_headers(version) | broken
    assert refusal(_Any, request(headers), [SECRET]) == "SIGNATURE_INVALID"


def test_a_signature_of_one_old_version_is_not_good_as_the_other() -> None:
    headers = hubspot_headers("v2") | {"x-hubspot-signature-version": "v1"}
    assert refusal(_Any, request(headers), [SECRET]) == "SIGNATURE_INVALID"
    headers = hubspot_headers("v1") | {"x-hubspot-signature-version": "v9"}
    assert refusal(_Any, request(headers), [SECRET]) == "SIGNATURE_INVALID"
