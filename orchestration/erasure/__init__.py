"""Erases a person: who that is, what is to go, taking it out of every store, and looking whether it has gone."""
