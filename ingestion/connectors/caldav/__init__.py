"""CalDAV calendars: polled, and asked when they are busy."""
