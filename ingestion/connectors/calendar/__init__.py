"""The Google-Calendar-shaped calendar: what it says to us and what we write to it."""
