"""The `handoff` command: argument parsing and screens; every verb calls a function of a sibling package."""
