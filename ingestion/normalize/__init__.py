"""Normal forms of identifiers: one pure function per kind, null for values that may not link anybody."""
