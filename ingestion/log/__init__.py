"""The durable, ordered, deduplicating event log: append, read from a cursor, quarantine."""
