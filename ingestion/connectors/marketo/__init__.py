"""Marketo: polls, webhooks and mappings for its exports; nothing is written to it."""
