"""Who may ask for tokens: the clients of the events API, kept in files of HANDOFF_HOME/edge; issues no tokens.

A secret is 256 random bits and shown once; its SHA-256 is kept, which cannot be guessed backwards.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from ingestion.durable_file import write_atomically
from ingestion.edge.scopes import require_known
from ingestion.errors.catalog import HandoffError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
# A key that no longer signs still has to verify what it signed.
KEPT_KEYS = 2


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a secret: SHA-256 in hex, and until when it counts (ISO 8601; None: for good)."""

    sha256: str
    created_at: str
    expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """One client: what it may do, and its limits by route where they differ from everybody's."""

    client_id: str
    scopes: tuple[str, ...]
    created_at: str
    secrets: tuple[Secret, ...] = ()
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    is_enabled: bool = True

    def has_secret(self, secret: str, now: datetime) -> bool:
        """Whether `secret` is one that counts now; every one is compared, in constant time."""
        given = _digest(secret)
        matches = False
        for kept in self.secrets:
            counts = kept.expires_at is None or now < datetime.fromisoformat(kept.expires_at)
            matches |= hmac.compare_digest(kept.sha256, given) and counts
        return matches


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs tokens: its id, and 256 bits."""

    key_id: str
    value: bytes


class ClientRegistry:
    """Reads and changes the clients; readers notice a change without being started again."""

    def __init__(self, folder: Path) -> None:
        """Opens nothing; `folder` is made by the first change."""
        self._folder = folder
        self._path = folder / "clients.json"
        self._keys_path = folder / "signing_keys.json"
        self._seen: tuple[tuple[int, int, int] | None, ...] = ()
        self._clients: dict[str, Client] = {}
        self._keys: tuple[SigningKey, ...] = ()
        self.generation = 0

    def clients(self) -> list[Client]:
        """Every client, by name."""
        self.refresh()
        return [self._clients[name] for name in sorted(self._clients)]

    def find(self, client_id: str) -> Client | None:
        """The client of that name, if there is one."""
        self.refresh()
        return self._clients.get(client_id)

    def keys(self) -> tuple[SigningKey, ...]:
        """Keys that verify, the one that signs first; empty until the first client is added."""
        self.refresh()
        return self._keys

    def refresh(self) -> None:
        """Read the files again if they changed; `generation` grows then."""
        seen = (_stamp(self._path), _stamp(self._keys_path))
        if seen == self._seen:
            return
        self._clients = {row["client_id"]: _client(row) for row in _rows(self._path, "clients")}
        self._keys = tuple(
            SigningKey(row["key_id"], base64.b64decode(row["value"]))
            for row in _rows(self._keys_path, "keys")
        )
        self._seen = seen
        self.generation += 1

    def add(
        self,
        client_id: str,
        scopes: Sequence[str],
        now: datetime,
        rate_limits: Mapping[str, str] | None = None,
    ) -> str:
        """Add a client and answer its secret, which cannot be read again; CLIENT_INVALID when it cannot be."""
        if not NAME.fullmatch(client_id):
            raise HandoffError(
                "CLIENT_INVALID",
                f"{client_id!r:.80} is no name of a client",
                remedy="Use up to 63 lower-case letters, digits, dots, dashes and underscores.",
            )
        if not scopes:
            raise HandoffError("CLIENT_INVALID", f"client {client_id!r} would be allowed nothing")
        require_known(scopes)
        secret = _new_secret()
        with self._changing() as clients:
            if client_id in clients:
                raise HandoffError(
                    "CLIENT_INVALID",
                    f"there is a client {client_id!r} already",
                    remedy="Take another name, or give it a new secret with `handoff clients rotate`.",
                )
            kept = Secret(_digest(secret), now.isoformat())
            clients[client_id] = Client(
                client_id, tuple(scopes), now.isoformat(), (kept,), dict(rate_limits or {})
            )
            # Under the same lock: two that add the first client must not each make keys.
            if not self._keys:
                self._add_key()
        return secret

    def rotate(self, client_id: str, now: datetime, overlap: timedelta) -> str:
        """A new secret for a client; the present ones count for `overlap` longer."""
        secret = _new_secret()
        until = (now + overlap).isoformat()
        with self._changing() as clients:
            client = _known(clients, client_id)
            old = tuple(
                replace(kept, expires_at=min(kept.expires_at or until, until))
                for kept in client.secrets
                if kept.expires_at is None or now < datetime.fromisoformat(kept.expires_at)
            )
            kept = Secret(_digest(secret), now.isoformat())
            clients[client_id] = replace(client, secrets=(kept, *old))
        return secret

    def set_enabled(self, client_id: str, is_enabled: bool) -> None:
        """Tokens of a disabled client stop counting at once; NOT_FOUND names the known ones."""
        with self._changing() as clients:
            clients[client_id] = replace(_known(clients, client_id), is_enabled=is_enabled)

    def remove(self, client_id: str) -> None:
        """Forget a client; its tokens stop counting at once."""
        with self._changing() as clients:
            _known(clients, client_id)
            del clients[client_id]

    def rotate_keys(self) -> None:
        """Sign with a new key from now on; tokens of the one before go on counting."""
        with self._locked():
            self.refresh()
            self._add_key()

    def _add_key(self) -> None:
        key = SigningKey(secrets.token_hex(8), secrets.token_bytes(32))
        kept = (key, *self._keys)[:KEPT_KEYS]
        rows = [
            {"key_id": one.key_id, "value": base64.b64encode(one.value).decode()} for one in kept
        ]
        write_atomically(self._keys_path, orjson.dumps({"keys": rows}).decode())

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Client]]:
        with self._locked():
            self.refresh()
            clients = dict(self._clients)
            yield clients
            rows = [asdict(clients[name]) for name in sorted(clients)]
            text = orjson.dumps({"clients": rows}, option=orjson.OPT_INDENT_2).decode()
            write_atomically(self._path, text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "clients.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _known(clients: Mapping[str, Client], client_id: str) -> Client:
    if client_id not in clients:
        known = ", ".join(sorted(clients)) or "none yet"
        raise HandoffError(
            "NOT_FOUND",
            f"there is no client {client_id!r:.80}; known: {known}",
            remedy="Add one with `handoff clients add NAME --scope events:write`.",
        )
    return clients[client_id]


def _new_secret() -> str:
    # The prefix lets scanners of leaked credentials know it.
    return f"hoff_{secrets.token_urlsafe(32)}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _rows(path: Path, name: str) -> list[dict[str, Any]]:
    try:
        return list(orjson.loads(path.read_bytes())[name])
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{path} cannot be read: {error}",
            remedy="Restore it from a backup, or delete it and add the clients again.",
        ) from error


def _client(row: dict[str, Any]) -> Client:
    kept = tuple(Secret(**secret) for secret in row["secrets"])
    return Client(**(row | {"scopes": tuple(row["scopes"]), "secrets": kept}))
