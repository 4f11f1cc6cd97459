"""The error catalog: every code a caller, an operator or a quarantine row can carry."""
