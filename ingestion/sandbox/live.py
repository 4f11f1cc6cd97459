"""Live traffic of the simulated company: form submits by its personas, signed as the `web` door
expects them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from ingestion.sandbox.cast import SITE
from ingestion.sandbox.spelling import ascii_slug, phone_text
from ingestion.sandbox.vocabulary import COUNTRIES, FIRST_NAMES, LAST_NAMES, SENIOR_TITLES
from ingestion.sandbox.world import World

NOTICE_VERSION = "2026-01"
CONTACT_FIELDS = ("email", "first_name", "last_name", "company", "phone", "country", "job_title")


def form_submit_body(world: World, index: int, now: datetime) -> dict[str, Any]:
    """The JSON body of the `index`-th live form submit, without signature.

    The first len(world.personas) are people the MAP knows well and who stand just under the MQL
    threshold: their demo_request carries them over. Those after are strangers asking for sales.
    Same world, index and `now` give the same body. Shape: {type, timestamp, data} as the `web`
    webhook takes it.
    """
    if index < 0:
        raise ValueError(f"index {index} is negative; the first form submit has index 0")
    rng = Random(f"{world.seed}|live|{index}")
    if index < len(world.personas):
        who = dict(world.personas[index])
        form_id, page = "demo_request", "/demo"
    else:
        who = _stranger(rng, index)
        form_id, page = "contact_sales", "/contact"
    return form_body(
        who,
        form_id,
        page,
        f"anon-{rng.getrandbits(64):016x}",
        now,
        {"email": True, "notice_version": NOTICE_VERSION},
    )


def form_body(
    who: Mapping[str, Any],
    form_id: str,
    page: str,
    anonymous_id: str,
    now: datetime,
    consent: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A submitted form in the shape {type, timestamp, data} of the web site's webhook.

    `who` has the contact fields; `consent` None: the form asked nobody.
    """
    data: dict[str, Any] = {
        "form_id": form_id,
        "url": f"{SITE}{page}",
        "referrer": "https://www.google.com/",
        **{name: who[name] for name in CONTACT_FIELDS if who.get(name) is not None},
        "utm_source": "google",
        "utm_medium": "cpc",
        "utm_campaign": "search-brand",
        "anonymous_id": anonymous_id,
    }
    if consent is not None:
        data["consent"] = dict(consent)
    return {
        "type": "form.submitted",
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }


def signed_form_submit(
    world: World, index: int, now: datetime, secret: str
) -> tuple[dict[str, str], bytes]:
    """Headers and raw body of a form submit, ready to POST to the edge's `web` webhook.

    Signed per Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`. `now` is also the
    signature's time and must be within five minutes of the receiver's clock.
    """
    import orjson
    from standardwebhooks.webhooks import Webhook

    body = orjson.dumps(form_submit_body(world, index, now))
    place = f"{world.seed}|{world.anchor.isoformat()}|{index}|{now.isoformat()}"
    message_id = "msg_" + hashlib.sha256(place.encode()).hexdigest()[:27]
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body.decode("utf-8")),
    }
    return headers, body


def _stranger(rng: Random, index: int) -> dict[str, Any]:
    country = COUNTRIES[rng.choice(("DE", "GB", "US", "FR", "NL"))]
    first, last = (
        rng.choice(FIRST_NAMES[country.language]),
        rng.choice(LAST_NAMES[country.language]),
    )
    area, template = country.phones[0]
    digits = "".join(str(rng.randrange(10)) if c == "#" else c for c in template)
    domain = f"newcomer-{index}-demoworld.{country.tld}"
    return {
        "email": f"{ascii_slug(first)}.{ascii_slug(last)}@{domain}",
        "first_name": first,
        "last_name": last,
        "company": f"Newcomer {index}",
        "phone": phone_text(country, (area, digits), 1),
        "country": country.code,
        "job_title": rng.choice(SENIOR_TITLES),
    }
