"""Routing decisions that SQL cannot make in one pass; which rep serves which territory is policy."""
