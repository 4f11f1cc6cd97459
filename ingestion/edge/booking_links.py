"""Links with which one lead books one meeting: encrypted tokens (JWE, RFC 7516), so that an address line tells nobody's name."""

from __future__ import annotations

import base64
import fcntl
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from ingestion.durable_file import write_atomically
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.hosts import Invitee

if TYPE_CHECKING:
    from joserfc.jwe import JWERegistry
    from joserfc.jwk import KeySet

AUDIENCE = "urn:handoff:book"
_ALGORITHMS = ["dir", "A256GCM"]
# An address line, a mail client and a proxy's log each cut somewhere beyond.
LONGEST_TOKEN = 2_048


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says: who may book what, and until when; `link_id` is its own."""

    link_id: str
    invitee: Invitee
    meeting_type: str
    expires_at: datetime


class BookingLinks:
    """Makes and reads tokens with a key of its own in HANDOFF_HOME/edge, made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """Opens nothing."""
        self._folder = folder
        self._path = folder / "link_keys.json"
        self._keys: tuple[tuple[str, bytes], ...] = ()

    def issue(
        self, invitee: Invitee, meeting_type: str, now: datetime, life: timedelta
    ) -> tuple[str, Link]:
        """A token, and what it says."""
        from joserfc import jwt

        expires_at = (now + life).replace(microsecond=0)
        link = Link(secrets.token_hex(8), invitee, meeting_type, expires_at)
        key_set = self._key_set(create=True)
        assert key_set is not None
        key = key_set.keys[0]
        claims = {
            "aud": AUDIENCE,
            "jti": link.link_id,
            "sub": invitee.person_id or "",
            "email": invitee.email,
            "name": invitee.name or "",
            "meeting_type": meeting_type,
            "exp": int(expires_at.timestamp()),
        }
        header = {"alg": "dir", "enc": "A256GCM", "typ": "JWT", "kid": key.kid}
        return jwt.encode(header, claims, key, registry=_registry()), link

    def read(self, token: str, now: datetime) -> Link:
        """What a token says; LINK_INVALID when it is not ours as we made it, LINK_EXPIRED when it has
        run out."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            keys = self._key_set(create=False)
            if keys is None or len(token) > LONGEST_TOKEN:
                raise ValueError("no such link was made here")
            claims = jwt.decode(token, keys, registry=_registry()).claims
            if claims["aud"] != AUDIENCE:
                raise ValueError("it is for something else")
            link = Link(
                str(claims["jti"]),
                Invitee(str(claims["email"]), claims["name"] or None, claims["sub"] or None),
                str(claims["meeting_type"]),
                datetime.fromtimestamp(int(claims["exp"]), UTC),
            )
        except (JoseError, ValueError, KeyError, TypeError, UnicodeError) as error:
            raise HandoffError(
                "LINK_INVALID", "the link was not made here, or was changed"
            ) from error
        if now >= link.expires_at:
            raise HandoffError(
                "LINK_EXPIRED", f"the link was good until {link.expires_at.isoformat()}"
            )
        return link

    def _key_set(self, *, create: bool) -> KeySet | None:
        from joserfc.jwk import KeySet, OctKey

        if not self._keys:
            self._keys = self._read()
        if not self._keys and create:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._folder / "link_keys.lock").open("a") as lock:
                # Two that make the first link at once must not each make a key.
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._keys = self._read()
                if not self._keys:
                    self._write((secrets.token_hex(8), secrets.token_bytes(32)))
                    self._keys = self._read()
        if not self._keys:
            return None
        return KeySet([OctKey.import_key(value, {"kid": key_id}) for key_id, value in self._keys])

    def _read(self) -> tuple[tuple[str, bytes], ...]:
        try:
            rows = orjson.loads(self._path.read_bytes())["keys"]
            return tuple((str(row["key_id"]), base64.b64decode(row["value"])) for row in rows)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except (ValueError, KeyError, TypeError) as error:
            raise HandoffError(
                "SYSTEM_NOT_CONFIGURED",
                f"{self._path} cannot be read: {error}",
                remedy="Restore it from a backup; without it the links sent so far are worth nothing.",
            ) from error

    def _write(self, key: tuple[str, bytes]) -> None:
        row = {"key_id": key[0], "value": base64.b64encode(key[1]).decode()}
        write_atomically(self._path, orjson.dumps({"keys": [row]}).decode())


def _registry() -> JWERegistry:
    from joserfc.jwe import JWERegistry

    return JWERegistry(algorithms=_ALGORITHMS)
