"""Why there are more or fewer MQLs than before."""
