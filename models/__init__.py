"""Decisions that are fitted or owned by people: policies and models."""
