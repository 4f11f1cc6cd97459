"""Policies: scoring, routing, identity, consent, sync and KPI rules as versioned YAML, owned by
RevOps."""
