"""Outgoing webhooks of our own: what is told, to whom, and that it arrives; who decides what happened stands in the marts."""
