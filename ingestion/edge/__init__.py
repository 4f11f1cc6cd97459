"""The HTTP door for events and webhooks: nothing is acknowledged before the log has it on disk."""
