"""Who is told what, and how patiently: plain values; the file people write them in is read by `models.policies.subscribers`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ingestion.errors.catalog import HandoffError

MessageKind = Literal["mql.reached", "lead.assigned", "meeting.booked", "meeting.outcome"]
MESSAGE_KINDS: tuple[MessageKind, ...] = get_args(MessageKind)
"""In the order in which they follow from each other."""

PersonalField = Literal["email", "phone", "first_name", "last_name", "rep_name", "rep_email"]
PERSONAL_FIELDS: tuple[PersonalField, ...] = get_args(PersonalField)

SECRET_PREFIX = "HANDOFF_SUBSCRIBER_SECRET_"
# Standard Webhooks' example of a schedule: ten attempts in a little more than three days.
RETRY_SECONDS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One receiver: `kinds` is what it is told, `personal_fields` what it asks for beyond the decision.

    Personal fields go out for people who may be written to `consent_destination` and for nobody else.
    """

    name: str
    url: str
    kinds: tuple[MessageKind, ...]
    personal_fields: tuple[PersonalField, ...] = ()
    consent_destination: str | None = None
    allow_private_address: bool = False

    @property
    def secret_variable(self) -> str:
        """Name of the environment variable its secrets stand in."""
        return f"{SECRET_PREFIX}{self.name.upper()}"

    def secrets(self, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Its secrets, several while they are being changed; raises SUBSCRIBER_SECRET_INVALID for none and for what is none."""
        held = (os.environ if environment is None else environment).get(self.secret_variable, "")
        secrets = tuple(part.strip() for part in held.split(",") if part.strip())
        if not secrets:
            raise HandoffError(
                "SUBSCRIBER_SECRET_INVALID",
                f"{self.secret_variable} is not set, so nothing can be signed for '{self.name}'",
            )
        for secret in secrets:
            if not _is_secret(secret):
                # Without the value: it may be a secret all the same.
                raise HandoffError(
                    "SUBSCRIBER_SECRET_INVALID",
                    f"{self.secret_variable} holds something that is no whsec_… secret",
                )
        return secrets


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How deliveries are tried: seconds, and when a subscriber counts as gone."""

    retry_seconds: tuple[float, ...] = RETRY_SECONDS
    timeout_seconds: float = 15.0
    disable_after_seconds: float = 5 * 86_400.0
    disable_after_dead_letters: int = 50
    probe_seconds: float = 3_600.0
    concurrency: int = 8
    keep_days: int = 90

    @property
    def most_attempts(self) -> int:
        """Attempts of one delivery, the first included."""
        return 1 + len(self.retry_seconds)


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Everybody who is told something, by name."""

    by_name: Mapping[str, Subscriber] = field(default_factory=dict)
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)

    def get(self, name: str) -> Subscriber:
        """The subscriber of that name; raises SUBSCRIBER_UNKNOWN with the known ones."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise HandoffError("SUBSCRIBER_UNKNOWN", f"unknown subscriber '{name}'; known: {known}")
        return self.by_name[name]

    def kinds(self) -> frozenset[MessageKind]:
        """Every kind that anybody is told."""
        return frozenset(kind for each in self.by_name.values() for kind in each.kinds)

    def personal_fields(self) -> frozenset[PersonalField]:
        """Every personal field that anybody asks for."""
        return frozenset(name for each in self.by_name.values() for name in each.personal_fields)


def _is_secret(text: str) -> bool:
    import base64
    import binascii

    if not text.startswith("whsec_"):
        return False
    try:
        # 24 bytes: the least that Standard Webhooks allows.
        return len(base64.b64decode(text.removeprefix("whsec_") + "==", validate=False)) >= 24
    except (binascii.Error, ValueError):
        return False
