"""What of a person who is erased goes, wherever it stands in the log and the archive, and how what comes in later is known."""
