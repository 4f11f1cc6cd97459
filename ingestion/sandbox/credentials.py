"""The sandbox's fixed demo credentials and the HANDOFF_* variables that point Handoff at it;
nothing secret."""

from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """What callers must present. `salesforce_token` is what the client-credentials exchange
    returns, as `marketo_token` is; `salesforce_rep_token` lets a test or a demo act as a person who edits records by hand.
    """

    hubspot_token: str = "sandbox-hubspot-token"
    salesforce_client_id: str = "sandbox-client-id"
    salesforce_client_secret: str = "sandbox-client-secret"
    salesforce_token: str = "00Dsandbox!integration"
    salesforce_rep_token: str = "00Dsandbox!rep"
    calendar_token: str = "sandbox-calendar-token"
    marketo_client_id: str = "sandbox-marketo-client-id"
    marketo_client_secret: str = "sandbox-marketo-client-secret"
    marketo_token: str = "sandbox-marketo-token:demo"
    calendly_token: str = "sandbox-calendly-token"
    calcom_token: str = "cal_sandbox_token"


def webhook_secret_web(seed: int) -> str:
    """Standard Webhooks secret of the `web` door, `whsec_` + base64 of 24 bytes, drawn from the
    seed."""
    key = hashlib.sha256(f"handoff-sandbox|web|{seed}".encode()).digest()[:24]
    return "whsec_" + base64.b64encode(key).decode("ascii")


def webhook_secret_hubspot(seed: int) -> str:
    """HubSpot client secret (a UUID, as HubSpot issues them), drawn from the seed."""
    return str(
        uuid.UUID(bytes=hashlib.sha256(f"handoff-sandbox|hubspot|{seed}".encode()).digest()[:16])
    )


def webhook_secrets(seed: int) -> dict[str, str]:
    """The secret of every system that sends webhooks."""
    return {"web": webhook_secret_web(seed), "hubspot": webhook_secret_hubspot(seed)}


def environment(base_url: str, seed: int = 7, tokens: Tokens | None = None) -> dict[str, str]:
    """HANDOFF_* variables that make Handoff talk to a sandbox at `base_url` (e.g.
    http://127.0.0.1:8322)."""
    root = base_url.rstrip("/")
    held = tokens or Tokens()
    return {
        "HANDOFF_HUBSPOT_URL": f"{root}/hubspot",
        "HANDOFF_HUBSPOT_TOKEN": held.hubspot_token,
        "HANDOFF_SALESFORCE_URL": f"{root}/salesforce",
        "HANDOFF_SALESFORCE_CLIENT_ID": held.salesforce_client_id,
        "HANDOFF_SALESFORCE_CLIENT_SECRET": held.salesforce_client_secret,
        "HANDOFF_CALENDAR_URL": f"{root}/calendar",
        "HANDOFF_CALENDAR_TOKEN": held.calendar_token,
        "HANDOFF_MARKETO_URL": f"{root}/marketo",
        "HANDOFF_MARKETO_CLIENT_ID": held.marketo_client_id,
        "HANDOFF_MARKETO_CLIENT_SECRET": held.marketo_client_secret,
        # The company's history and a while since, and a Marketo that nobody else calls.
        "HANDOFF_MARKETO_LOOKBACK_DAYS": "365",
        "HANDOFF_MARKETO_RATE_LIMIT": "100",
        "HANDOFF_MARKETO_POLL_SECONDS": "0",
        "HANDOFF_CALENDLY_URL": f"{root}/calendly",
        "HANDOFF_CALENDLY_TOKEN": held.calendly_token,
        "HANDOFF_CALCOM_URL": f"{root}/calcom/v2",
        "HANDOFF_CALCOM_TOKEN": held.calcom_token,
        "HANDOFF_AD_SPEND_URL": f"{root}/ad_spend/export?format=csv",
        "HANDOFF_WEBHOOK_SECRETS_WEB": webhook_secret_web(seed),
        "HANDOFF_WEBHOOK_SECRETS_HUBSPOT": webhook_secret_hubspot(seed),
    }
