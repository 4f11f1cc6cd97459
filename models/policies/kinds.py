"""Every kind of policy there is."""

from __future__ import annotations

from models.policies.documents import (
    AccountsPolicy,
    ConsentPolicy,
    IdentityPolicy,
    KpiPolicy,
    PolicyDocument,
    ScoringPolicy,
    SyncPolicy,
)
from models.policies.lead_model import ModelPolicy
from models.policies.lead_routing import RoutingPolicy
from models.policies.scheduling import SchedulingPolicy

KINDS: dict[str, type[PolicyDocument]] = {
    "scoring": ScoringPolicy,
    "model": ModelPolicy,
    "routing": RoutingPolicy,
    "identity": IdentityPolicy,
    "consent": ConsentPolicy,
    "sync": SyncPolicy,
    "kpi": KpiPolicy,
    "accounts": AccountsPolicy,
    "scheduling": SchedulingPolicy,
}
"""Every kind of policy by the name of its folder."""
