"""dbt-duckdb plugins: Python functions the SQL models call; registered on dbt's own connection."""
