"""One folder per outside system: source, webhook, destination; connectors never import each other."""
