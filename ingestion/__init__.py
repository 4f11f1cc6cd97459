"""Everything that crosses the wire, either way; knows neither Dagster nor the marts."""
