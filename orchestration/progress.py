"""Tells whoever started a run what it is doing; silent unless somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]

# Of the process, not of the context: dbt reports its nodes from threads of its own.
_listeners: list[Listener] = []


def report(text: str) -> None:
    """Say what is being done now, in a few words; what stands behind a colon is a detail."""
    if _listeners:
        _listeners[-1](text)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send reports to `listener` until the block ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
