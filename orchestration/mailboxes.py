"""Under which address the identity policy knows a mailbox, whichever of its spellings somebody uses."""

from __future__ import annotations

from collections.abc import Callable

from ingestion.normalize.emails import canonical_email, normalize_email
from ingestion.settings import Settings
from models.policies.load import load_policies
from models.policies.rows import active_email_rules


def linking_addresses(settings: Settings) -> Callable[[str], str | None]:
    """Gives of a text the address that records of its mailbox are linked by (`int_identity__identifiers.identifier_value`), or None for
    what is no address; by the active policy, which is read once. Raises POLICY_INVALID.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    rules = active_email_rules(policies)

    def linking_address(text: str) -> str | None:
        address = normalize_email(text)
        return canonical_email(address, rules) if address is not None else None

    return linking_address
