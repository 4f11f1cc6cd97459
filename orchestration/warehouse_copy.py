"""A copy of the warehouse in a folder of its own, made in moments, for work that would hold the lock for long; decides nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ingestion.landing.warehouse import connect
from ingestion.settings import Settings

# Next to the copy come the tables made anew before the old ones are freed, and what does not fit into memory.
ROOM_PER_COPY = 3
# Left to the event log, which refuses events on a full disk.
ROOM_LEFT = 1_000_000_000

_PIECE = 1 << 30


class CopySettings(Settings):
    """Settings under which the warehouse is a copy in `folder`; log, archive and policies are the home's own."""

    folder: Path

    @property
    def warehouse_path(self) -> Path:
        """The copy. Of the same name: it is DuckDB's name of the catalogue, which views and dbt's project carry."""
        return self.folder / super().warehouse_path.name

    @property
    def artifacts_dir(self) -> Path:
        """dbt writes here what it runs on the copy."""
        return self.folder / "artifacts"


def copy_settings(settings: Settings, name: str) -> CopySettings:
    """Settings of the copy called `name`; nothing is created."""
    return CopySettings(**{**settings.model_dump(), "folder": settings.root / "copies" / name})


def lacking_room(settings: Settings) -> str | None:
    """Why there is no room for a copy, None when there is."""
    wanted = settings.warehouse_path.stat().st_size * ROOM_PER_COPY + ROOM_LEFT
    free = shutil.disk_usage(settings.root).free
    if free >= wanted:
        return None
    return f"{free / 1e9:.1f} GB are free and a copy of the warehouse takes {wanted / 1e9:.1f} GB"


def take_copy(settings: Settings, copy: CopySettings) -> int:
    """Copy the warehouse as it stands; returns its size in bytes. The caller holds the writer's lock and has no connection open.

    The folder is emptied first. Closing one of two descriptors of a file drops the locks a process has on it (POSIX), DuckDB's too.
    """
    discard(copy)
    copy.folder.mkdir(parents=True)
    write_down(settings)
    _copy_bytes(settings.warehouse_path, copy.warehouse_path)
    _share_parsed_project(settings, copy)
    return copy.warehouse_path.stat().st_size


def write_down(settings: Settings) -> None:
    """Bring the file up to date with its write-ahead log, so that it says everything alone."""
    connection = connect(settings)
    try:
        connection.execute("checkpoint")
    finally:
        connection.close()


def discard(copy: CopySettings) -> None:
    """Delete the copy and everything beside it."""
    shutil.rmtree(copy.folder, ignore_errors=True)


def _copy_bytes(source: Path, target: Path) -> None:
    """In the kernel, and as a reference to the same blocks where the file system can do that."""
    if hasattr(os, "copy_file_range"):
        with source.open("rb") as origin, target.open("wb") as written:
            try:
                while os.copy_file_range(origin.fileno(), written.fileno(), _PIECE):
                    pass
            except OSError:
                written.truncate(0)
            else:
                shutil.copymode(source, target)
                return
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _share_parsed_project(settings: Settings, copy: CopySettings) -> None:
    """What this home parsed of the dbt project: parsing takes seconds."""
    parsed = copy.artifacts_dir / "dbt"
    parsed.mkdir(parents=True)
    for file in (settings.artifacts_dir / "dbt").glob("*.*"):
        if file.suffix in (".msgpack", ".json", ".key") and file.is_file():
            shutil.copyfile(file, parsed / file.name)
