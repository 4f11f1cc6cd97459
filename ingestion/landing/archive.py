"""The landing archive: polled records as immutable Parquet segments, written before anything else
sees them."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from ingestion.connectors.extracted import Extracted
from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import pyarrow as pa

_CURSOR = b"handoff.cursor"


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable file; `cursor` is the greatest `place` of a row in it and in all segments before
    it."""

    seq: int
    path: Path
    cursor: datetime
    rows: int


def segment_schema() -> pa.Schema:
    """Columns of a segment and of every `raw_<system>.<resource>` table, in order."""
    import pyarrow as pa

    instant = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("updated_at", instant, nullable=False),
            pa.field("is_deleted", pa.bool_(), nullable=False),
            pa.field("payload", pa.string(), nullable=False),
            pa.field("received_at", instant, nullable=False),
            pa.field("segment", pa.int64(), nullable=False),
            pa.field("row_hash", pa.int64(), nullable=False),
        ]
    )


def row_hash(row: Extracted, payload: bytes) -> int:
    """Signed 64-bit hash of a record's content; equal content polled twice has an equal hash."""
    return hash_of(row.record_id, row.is_deleted, payload)


def hash_of(record_id: str, is_deleted: bool, payload: bytes) -> int:
    """`row_hash` of its parts."""
    digest = hashlib.blake2b(record_id.encode(), digest_size=8)
    digest.update(b"\x01" if is_deleted else b"\x00")
    digest.update(payload)
    return int.from_bytes(digest.digest(), "big", signed=True)


class Archive:
    """The segments under `folder`, one subfolder per system and resource."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is created before the first append."""
        self.folder = folder

    @contextmanager
    def writing(self, system: str) -> Iterator[None]:
        """Hold the right to append to `system`; a second poller waits, as two would number
        segments alike."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{system}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def paths(self, system: str, resource: str) -> list[tuple[int, Path]]:
        """Number and path of every segment, oldest first; unfinished files are not among them."""
        folder = self.folder / system / resource
        return sorted((int(path.stem), path) for path in folder.glob("????????.parquet"))

    def segments(self, system: str, resource: str, after: int = 0) -> list[Segment]:
        """Segments with a number greater than `after`, oldest first."""
        return [
            _read_segment(seq, path) for seq, path in self.paths(system, resource) if seq > after
        ]

    def cursor(self, system: str, resource: str) -> datetime | None:
        """Where the next poll continues: the newest `place` archived, None before the first."""
        paths = self.paths(system, resource)
        return _read_segment(*paths[-1]).cursor if paths else None

    def read(self, segment: Segment) -> pa.Table:
        """All rows of one segment, in `segment_schema`."""
        import pyarrow.parquet as pq

        table = pq.ParquetFile(segment.path).read()
        return table.replace_schema_metadata(None).cast(segment_schema())

    def known(self, system: str, resource: str) -> KnownVersions:
        """The newest versions of a resource's records, read when they are asked for."""
        return KnownVersions([path for _, path in self.paths(system, resource)])

    def append(
        self, system: str, resource: str, rows: Sequence[Extracted], received_at: datetime
    ) -> Segment | None:
        """Write the rows not archived yet as the next segment, durable on return; None when all
        are known."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            return None
        paths = self.paths(system, resource)
        earliest = min(row.place for row in rows)
        known = self._hashes_since(paths, earliest)
        newest_of: dict[str, int] = {}
        if any(row.is_snapshot for row in rows):
            newest_of = self._newest_hashes(paths, earliest)
        columns: dict[str, list[object]] = {name: [] for name in segment_schema().names}
        seq = paths[-1][0] + 1 if paths else 1
        for row in rows:
            payload = orjson.dumps(row.payload, option=orjson.OPT_SORT_KEYS)
            hashed = row_hash(row, payload)
            if row.is_snapshot:
                is_known = newest_of.get(row.record_id) == hashed
            else:
                is_known = hashed in known
            if is_known:
                continue
            known.add(hashed)
            newest_of[row.record_id] = hashed
            values = (
                row.record_id, row.updated_at, row.is_deleted, payload.decode(), received_at, seq,
                hashed,
            )  # fmt: skip
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        if not columns["record_id"]:
            return None
        newest = max(row.place for row in rows)
        before = self.cursor(system, resource)
        cursor = newest if before is None else max(before, newest)
        table = pa.table(columns, schema=segment_schema()).replace_schema_metadata(
            {_CURSOR: cursor.astimezone(UTC).isoformat().encode()}
        )
        path = self.folder / system / resource / f"{seq:08d}.parquet"
        _write_durably(path, lambda target: pq.write_table(table, target, compression="zstd"))
        return Segment(seq, path, cursor, table.num_rows)

    def discard_unfinished(self) -> None:
        """Delete what appends that were killed have left; the caller holds `writing` of every system."""
        for path in self.folder.glob("*/*/*.tmp"):
            path.unlink(missing_ok=True)

    def rewrite(
        self, system: str, resource: str, seq: int, payloads: Mapping[int, str | None]
    ) -> None:
        """Replace payloads of one segment, or take their rows out (None), by `row_hash`; durable on return, under the name it has.

        Only for erasing: segments are immutable otherwise. The caller holds `writing`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / system / resource / f"{seq:08d}.parquet"
        table = pq.ParquetFile(path).read()
        rows = []
        for row in table.to_pylist():
            payload = payloads.get(row["row_hash"], row["payload"])
            if payload is None:
                continue
            if payload != row["payload"]:
                row["payload"] = payload
                row["row_hash"] = hash_of(row["record_id"], row["is_deleted"], payload.encode())
            rows.append(row)
        left = pa.Table.from_pylist(rows, schema=segment_schema()).replace_schema_metadata(
            table.schema.metadata
        )
        unfinished = path.with_suffix(".tmp")
        # One that a killed append left may be the segment itself under a second name.
        unfinished.unlink(missing_ok=True)
        _write_file(unfinished, lambda target: pq.write_table(left, target, compression="zstd"))
        unfinished.replace(path)
        sync_to_disk(path.parent)

    def _hashes_since(self, paths: list[tuple[int, Path]], earliest: datetime) -> set[int]:
        hashes: set[int] = set()
        for (found,) in self._rows_since(paths, earliest, ["row_hash"]):
            hashes.update(found)
        return hashes

    def _newest_hashes(self, paths: list[tuple[int, Path]], earliest: datetime) -> dict[str, int]:
        """The hash of each record's newest row, of those that may be as new as `earliest`."""
        newest_of: dict[str, int] = {}
        for ids, hashes in self._rows_since(paths, earliest, ["record_id", "row_hash"]):
            of_segment = dict(zip(ids, hashes, strict=True))
            for record_id, hashed in of_segment.items():
                newest_of.setdefault(record_id, hashed)
        return newest_of

    def _rows_since(
        self, paths: list[tuple[int, Path]], earliest: datetime, columns: list[str]
    ) -> Iterator[list[list[Any]]]:
        """Columns of each segment that may hold rows as new as `earliest`, newest first."""
        import pyarrow.parquet as pq

        for seq, path in reversed(paths):
            # Cursors never decrease, so everything before this segment is older than the rows at
            # hand.
            if _read_segment(seq, path).cursor < earliest:
                break
            rows = pq.ParquetFile(path).read(columns=columns)
            yield [rows[name].to_pylist() for name in columns]


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """The records of some segments, given oldest first."""

    paths: list[Path]

    def one(self, record_id: str) -> dict[str, Any] | None:
        """Payload of the newest version of a record; read from the newest segment backwards."""
        for path in reversed(self.paths):
            if record_id in _ids_of(path):
                return _payloads(path, [record_id])[record_id]
        return None

    def newest(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Payload of the newest version of each record whose id begins with `prefix`."""
        last = {
            record_id: path
            for path in self.paths
            for record_id in _ids_of(path)
            if record_id.startswith(prefix)
        }
        found: dict[str, dict[str, Any]] = {}
        by_path: dict[Path, list[str]] = {}
        for record_id, path in last.items():
            by_path.setdefault(path, []).append(record_id)
        for path, record_ids in by_path.items():
            found |= _payloads(path, record_ids)
        return found


def _ids_of(path: Path) -> frozenset[str]:
    # An archive that was put back has other segments under the same names.
    return _record_ids(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=65_536)
def _record_ids(path: Path, _: int) -> frozenset[str]:
    """A segment never changes, and a worker asks for it at every poll."""
    import pyarrow.parquet as pq

    return frozenset(pq.ParquetFile(path).read(columns=["record_id"])["record_id"].to_pylist())


def _payloads(path: Path, record_ids: list[str]) -> dict[str, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(path).read(columns=["record_id", "payload"])
    rows = rows.filter(pc.is_in(rows["record_id"], pa.array(record_ids)))
    pairs = zip(rows["record_id"].to_pylist(), rows["payload"].to_pylist(), strict=True)
    return {record_id: orjson.loads(payload) for record_id, payload in pairs}


def _read_segment(seq: int, path: Path) -> Segment:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        metadata = file.schema_arrow.metadata or {}
        return Segment(
            seq, path, datetime.fromisoformat(metadata[_CURSOR].decode()), file.metadata.num_rows
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise HandoffError(
            "FILE_UNREADABLE",
            f"archive segment {path} cannot be read: {error}",
            remedy="Restore the segment from a backup, or move its folder away to poll all again.",
        ) from error


def _write_durably(path: Path, write: Callable[[BinaryIO], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    _write_file(unfinished, write)
    # Unlike a rename, a link refuses to replace a segment that somebody else has written meanwhile.
    os.link(unfinished, path)
    unfinished.unlink()
    sync_to_disk(path.parent)


def _write_file(path: Path, write: Callable[[BinaryIO], None]) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
