"""Everything that crosses the wire from the company's own web site."""
