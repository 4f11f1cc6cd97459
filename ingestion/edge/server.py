"""Runs the edge as a process: address, log, logging, and a stop that answers what is under way."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import orjson
import structlog
from fastapi import FastAPI

from ingestion.connectors import catalog
from ingestion.edge.app import create_app
from ingestion.edge.certificate import Certificate
from ingestion.edge.decisions import Decisions
from ingestion.edge.quarantine import Retake
from ingestion.errors.catalog import HandoffError
from ingestion.listening import listen
from ingestion.log.owner import open_log
from ingestion.scheduling.hosts import Hosts
from ingestion.settings import Settings
from ingestion.tracing import shut_down

STOP_SECONDS = 30
# Two threads share the interpreter here, the server and the log's writer; at the default of 5 ms
# the writer waits for the server longer than for the disk.
SWITCH_SECONDS = 0.0005

logger = structlog.get_logger("handoff.edge")


def serve(
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    *,
    announce: Callable[[str], None] | None = None,
    decisions: Decisions | None = None,
    retake: Retake | None = None,
    scheduling: Hosts | None = None,
) -> None:
    """Run the edge until SIGINT or SIGTERM; then answer what is under way, commit it and give the
    log up.

    `announce` hears the address once it is ours, `decisions` answers what became of events, `retake`
    takes what was refused once more, `scheduling` says whom a lead can meet.
    ADDRESS_UNAVAILABLE when `host` and `port` (default: settings) cannot be listened on,
    TLS_REQUIRED when others could reach them in plain HTTP; what `open_log` raises when there is no
    log to write.
    """
    configure_logging()
    sys.setswitchinterval(SWITCH_SECONDS)
    host = settings.edge_host if host is None else host
    port = settings.edge_port if port is None else port
    certificate = _certificate(settings, host)
    # The log is opened here and not by the application's start: a server whose start failed ends
    # with a trace and the exit code of success.
    with (
        closing(listen(host, port, "HANDOFF_EDGE_PORT")) as listener,
        closing(open_log(settings)) as log,
    ):
        app = create_app(settings, log, decisions=decisions, retake=retake, scheduling=scheduling)
        _run(settings, app, listener, announce, certificate)
    shut_down()
    logger.info("stopped")


def _run(
    settings: Settings,
    app: FastAPI,
    listener: socket.socket,
    announce: Callable[[str], None] | None,
    certificate: Certificate | None,
) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # Forwarded addresses can be forged; who is a loopback caller is decided by the connection
        # alone.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    if certificate is not None:
        config.load()
        config.ssl = certificate.context
    address, bound_port = listener.getsockname()[:2]
    scheme = "https" if certificate is not None else "http"
    name = f"[{address}]" if ":" in address else address
    url = f"{scheme}://{name}:{bound_port}"
    if announce is not None:
        announce(url)
    logger.info("listening", url=url, home=str(settings.root))
    for system in catalog.systems("webhook"):
        if not settings.webhook_secrets(system):
            # Otherwise the first to know would be a sender whose deliveries are refused.
            logger.warning(
                "every delivery will be refused: no secret",
                path=f"/webhooks/{system}",
                setting=f"HANDOFF_WEBHOOK_SECRETS_{system.upper()}",
            )
    server = uvicorn.Server(config)
    if threading.current_thread() is threading.main_thread():
        # After a graceful stop uvicorn raises the signal once more; being stopped is no failure.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])


def _certificate(settings: Settings, host: str) -> Certificate | None:
    chain, key = settings.edge_tls_certificate, settings.edge_tls_key
    if (chain is None) != (key is None):
        missing = "HANDOFF_EDGE_TLS_KEY" if key is None else "HANDOFF_EDGE_TLS_CERTIFICATE"
        raise HandoffError("SETTING_INVALID", f"{missing} is not set, and the other one is")
    if chain is not None and key is not None:
        return Certificate(chain, key)
    if not _is_loopback(host) and not settings.edge_behind_proxy:
        raise HandoffError("TLS_REQUIRED", f"{host} can be reached by others, in plain HTTP")
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def configure_logging() -> None:
    """One JSON object per line on standard error, for our own lines and the server's."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    # Bytes and kept loggers: a line for every request is a tenth of what a small one costs
    # (https://www.structlog.org/en/stable/performance.html).
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(_dump)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(_dump_line),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _dump(value: Any, **_: Any) -> bytes:
    return orjson.dumps(value, default=repr)


def _dump_line(value: Any, **_: Any) -> str:
    return _dump(value).decode()
