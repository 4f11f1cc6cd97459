"""Typeform: forms that people fill in."""
