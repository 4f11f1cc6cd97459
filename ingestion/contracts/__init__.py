"""Contracts: what may come in, one JSON Schema per record and version, and what derives from it."""
