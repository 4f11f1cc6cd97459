"""A PostgreSQL server of its own, as several edges would share one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# `initdb` and the server refuse to be root.
USERS = ("postgres", "nobody")


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of an empty database on a socket of a temporary folder; skipped, with the reason, where there is no server to start."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = next((name for name in USERS if _exists(name)), None) if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    try:
        _run(user, programs / "initdb", "-D", data, "-U", "handoff", "-A", "trust", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses='' -c max_connections=40"
        _run(
            user,
            programs / "pg_ctl",
            "-D",
            data,
            "-w",
            "-l",
            folder / "log",
            "-o",
            options,
            "start",
        )
        try:
            yield f"postgresql://handoff@/postgres?host={folder}"
        finally:
            _run(user, programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("initdb")
    # Debian keeps them out of the way, by version.
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    usable = [folder for folder in folders if (folder / "initdb").exists()]
    if not usable:
        assert "CI" not in os.environ, "PostgreSQL is missing: `make services` installs it"
        pytest.skip("PostgreSQL is not installed")
    return usable[-1]


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _run(user: str | None, *words: object) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        user=user,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
