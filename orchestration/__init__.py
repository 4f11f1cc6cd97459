"""The only package that knows Dagster: definitions, assets, checks, sensors, schedules and the CLI."""
