"""Marketo: mappings for its exports; it is neither polled nor written to."""
