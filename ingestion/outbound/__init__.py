"""Doors out: plan, guard, apply and confirm writes to outside systems; connectors know how."""
