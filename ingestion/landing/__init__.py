"""Brings the log, the polled systems and files into the warehouse's raw schemas, append-only."""
