"""Contracts as they stand in a folder or in a revision of git, to be held against each other; judges nothing."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from ingestion.contracts.lifecycle import Lifecycle, read_lifecycles
from ingestion.contracts.registry import FOLDER, Version, parse_version, resolved
from ingestion.errors.catalog import HandoffError

_PLACE = "ingestion/contracts"


@dataclass(frozen=True, slots=True)
class ContractSet:
    """All contracts of one place: `documents` by record and version, `enums` by name."""

    name: str
    documents: Mapping[str, Mapping[str, dict[str, Any]]]
    enums: Mapping[str, dict[str, Any]]
    lifecycles: Mapping[tuple[str, str], Lifecycle] = field(default_factory=dict)
    upcasts: frozenset[tuple[str, str, str]] = frozenset()

    def versions(self, record: str) -> list[str]:
        """Versions of a record, oldest first."""
        return sorted(self.documents.get(record, ()), key=parse_version)

    def before(self, record: str, version: str) -> str | None:
        """The newest version older than this one; None for the first."""
        wanted: Version = parse_version(version)
        older = [name for name in self.versions(record) if parse_version(name) < wanted]
        return older[-1] if older else None

    def resolved(
        self, record: str, version: str, enums: Mapping[str, dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """A contract with its enumerations in place, without what differs for no document."""
        known = self.enums if enums is None else enums

        def named(name: str) -> Mapping[str, Any]:
            if name not in known:
                raise HandoffError(
                    "SCHEMA_UNKNOWN",
                    f"{record} {version} refers to the enumeration {name!r}, which {self.name} has not",
                )
            return known[name]

        found = resolved(self.documents[record][version], named)
        return {key: _without_systems(value) for key, value in found.items()}


def open_range(text: str) -> tuple[ContractSet, ContractSet]:
    """OLD..NEW as two sets; each a folder or a git revision, NEW the working tree when it is left out.

    HandoffError CONTRACTS_UNREADABLE names what neither is.
    """
    places = [at for at in range(len(text)) if text.startswith("..", at)]
    for at in places:
        old, new = text[:at], text[at + 2 :]
        if old and _is_place(old) and (not new or _is_place(new)):
            return _open(old), working_tree() if not new else _open(new)
    if text and not places and _is_place(text):
        return _open(text), working_tree()
    raise HandoffError(
        "CONTRACTS_UNREADABLE",
        f"{text!r} names no contracts: a folder that holds them or a git revision, OLD..NEW",
    )


def working_tree() -> ContractSet:
    """The contracts this code was started with."""
    return read_folder(FOLDER, "the working tree")


def read_folder(folder: Path, name: str = "") -> ContractSet:
    """Contracts of a folder: of `ingestion/contracts`, a copy of it, or of the root of a checkout."""
    root = folder / _PLACE if (folder / _PLACE).is_dir() else folder
    files = ((path.relative_to(root), path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file())  # fmt: skip
    return _gathered(name or str(folder), ((PurePosixPath(path), data) for path, data in files))


def read_revision(revision: str, checkout: Path = FOLDER) -> ContractSet:
    """Contracts as committed in `revision`; CONTRACTS_UNREADABLE when git does not have them."""
    done = _git(checkout, "rev-parse", "--show-toplevel")
    root = Path(done.stdout.decode().strip() or ".")
    archive = _git(root, "archive", "--format=tar", revision, "--", _PLACE)
    if done.returncode or archive.returncode:
        reason = (done.stderr or archive.stderr).decode(errors="replace").strip()
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"git has no contracts of {revision!r}: {reason}"
        )

    def files() -> Iterator[tuple[PurePosixPath, bytes]]:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            for member in tar.getmembers():
                if (content := tar.extractfile(member)) is not None:
                    yield PurePosixPath(member.name).relative_to(_PLACE), content.read()

    return _gathered(revision, files())


def _is_place(text: str) -> bool:
    return Path(text).is_dir() or _is_revision(text)


def _is_revision(text: str) -> bool:
    if text.startswith("-"):
        return False
    found = _git(FOLDER, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    return found.returncode == 0


def _open(text: str) -> ContractSet:
    return read_folder(Path(text)) if Path(text).is_dir() else read_revision(text)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True)
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, b"", b"git is not installed")


def _gathered(name: str, files: Iterable[tuple[PurePosixPath, bytes]]) -> ContractSet:
    documents: dict[str, dict[str, dict[str, Any]]] = {}
    enums: dict[str, dict[str, Any]] = {}
    lifecycles: dict[tuple[str, str], Lifecycle] = {}
    upcasts: set[tuple[str, str, str]] = set()
    for path, data in files:
        try:
            match path.parts:
                case ("enums", file) if file.endswith(".json"):
                    enums[path.stem] = orjson.loads(data)
                case ("lifecycle.yml",):
                    lifecycles = read_lifecycles(data.decode())
                case (record, file) if file.startswith("upcast_") and file.endswith(".yml"):
                    _, old, new = path.stem.split("_", 2)
                    upcasts.add((record, old, new))
                case (record, file) if file.endswith(".json") and _is_version(path.stem):
                    documents.setdefault(record, {})[path.stem] = orjson.loads(data)
        except ValueError as error:
            raise HandoffError(
                "CONTRACTS_UNREADABLE", f"{name}: {path} cannot be read: {error}"
            ) from error
    if not documents:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{name} holds no contract")
    return ContractSet(name, documents, enums, lifecycles, frozenset(upcasts))


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except ValueError:
        return False
    return True


def _without_systems(node: Any) -> Any:
    # How a system's own words map to ours changes no document of ours.
    if isinstance(node, list):
        return [_without_systems(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_systems(value) for key, value in node.items() if key != "x-systems"}
    return node
