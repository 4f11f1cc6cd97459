"""Takes an address to listen on, or says why not; what is served there is decided elsewhere."""

from __future__ import annotations

import socket

from ingestion.errors.catalog import HandoffError


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens on `host` and `port`; 0 means any free port.

    ADDRESS_UNAVAILABLE when that cannot be; its remedy names `setting`, the variable that holds the
    port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2_048)
    # A port beyond 65535 overflows, and a name that is none cannot be encoded.
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        raise HandoffError(
            "ADDRESS_UNAVAILABLE",
            f"cannot listen on {host}:{port}: {why}",
            remedy=f"Stop the other program, or choose another port with --port or {setting}.",
        ) from error
    return listener
