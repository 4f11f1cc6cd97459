"""Great Expectations at the two doors; the only package that opens a GX context."""
