"""Dagster assets and their checks, one module per stage of the flow."""
