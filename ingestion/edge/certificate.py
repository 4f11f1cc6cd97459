"""The edge's TLS certificate: 1.2 or newer, and renewed without a restart."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import structlog

from ingestion.errors.catalog import HandoffError

LOOK_SECONDS = 30.0

logger = structlog.get_logger("handoff.edge")


class Certificate:
    """A server context whose certificate follows its files: connections made later get the new one."""

    def __init__(self, chain: Path, key: Path, look_seconds: float = LOOK_SECONDS) -> None:
        """SETTING_INVALID when the files are no certificate and its key."""
        self._files = (chain, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self._seen = self._stamp()
            self.context.load_cert_chain(chain, key)
        except (OSError, ssl.SSLError) as error:
            raise HandoffError(
                "SETTING_INVALID",
                f"{chain} and {key} cannot be used for TLS: {error}",
                remedy="Give a PEM file with the certificate and its chain, and one with its unencrypted key.",
            ) from error
        threading.Thread(
            target=self._follow, args=(look_seconds,), name="certificate", daemon=True
        ).start()

    def _follow(self, look_seconds: float) -> None:
        pause = threading.Event()
        while not pause.wait(look_seconds):
            try:
                seen = self._stamp()
                if seen == self._seen:
                    continue
                # A renewal writes two files: a pair that does not fit is looked at again.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
                self.context.load_cert_chain(*self._files)
                self._seen = seen
                logger.info("certificate renewed", certificate=str(self._files[0]))
            except (OSError, ssl.SSLError) as error:
                logger.warning("the renewed certificate cannot be used", reason=str(error))

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        return tuple(
            (found.st_mtime_ns, found.st_ino) for found in (path.stat() for path in self._files)
        )
