"""Firmographics from a service at HANDOFF_ENRICHMENT_URL that takes a domain and answers JSON; its shape stands in docs/accounts.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from ingestion.connectors.polling import LOOPBACK, address, code_of
from ingestion.enrichment.answers import Company
from ingestion.enrichment.catalog import Lookup
from ingestion.enrichment.firmographics import company_of
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

if TYPE_CHECKING:
    import httpx

# A company's firmographics are some hundred bytes.
MOST_BYTES = 65_536


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_ENRICHMENT_URL is set."""
    return bool(settings.enrichment_url)


@contextmanager
def opened(settings: Settings, timeout_seconds: float) -> Iterator[Lookup]:
    """A lookup that asks `GET <url>?domain=<domain>` once: 200 is what is known, 404 that nothing is.

    Raises SYSTEM_NOT_CONFIGURED for an address that is neither https nor loopback; the lookup raises UPSTREAM_UNAVAILABLE, UPSTREAM_REJECTED,
    RATE_LIMITED, AUTH_EXPIRED and SCOPE_DENIED.
    """
    import httpx

    url = address(settings, "enrichment")
    token = settings.enrichment_token
    headers = {"accept": "application/json"}
    if token is not None and token.get_secret_value():
        headers["authorization"] = f"Bearer {token.get_secret_value()}"
    with httpx.Client(
        headers=headers,
        timeout=timeout_seconds,
        trust_env=urlsplit(url).hostname not in LOOPBACK,
    ) as client:
        yield lambda domain: _asked(client, url, domain, timeout_seconds)


def _asked(client: httpx.Client, url: str, domain: str, timeout_seconds: float) -> Company | None:
    import httpx

    deadline = time.monotonic() + timeout_seconds
    body = bytearray()
    try:
        with client.stream("GET", url, params={"domain": domain}) as response:
            for chunk in response.iter_bytes():
                body += chunk
                # The client's timeout is one between two bytes: a service that drips would be waited for without end.
                if time.monotonic() > deadline or len(body) > MOST_BYTES:
                    raise _failure(
                        domain, f"no whole answer in {timeout_seconds:g} s and {MOST_BYTES} bytes"
                    )
    except httpx.TransportError as error:
        raise _failure(domain, f"{type(error).__name__}: {error}") from error
    if response.status_code == 404:
        return None
    if not response.is_success:
        raise HandoffError(
            code_of(response.status_code),
            f"enrichment: {domain}: HTTP {response.status_code}: {body[:200].decode(errors='replace')}",
        )
    try:
        told = orjson.loads(body)
        if not isinstance(told, dict):
            raise ValueError("the answer is no JSON object")
        return company_of(told)
    except ValueError as error:
        raise HandoffError("UPSTREAM_REJECTED", f"enrichment: {domain}: {error}") from error


def _failure(domain: str, message: str) -> HandoffError:
    return HandoffError("UPSTREAM_UNAVAILABLE", f"enrichment: {domain}: {message}")
