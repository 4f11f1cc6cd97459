"""Trains match parameters from the warehouse and puts people's answers on proposed matches into the log; what a match weighs is decided in `models.matching`."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.durable_file import write_whole
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect, has_table
from ingestion.settings import Settings
from models.matching.parameters import (
    MatchParameters,
    parameters_path,
    parameters_text,
)
from models.policies.documents import IdentityPolicy, Matching
from models.policies.load import PolicyVersion, load_policies

if TYPE_CHECKING:
    import duckdb

_CONTACTS = "intermediate.int_contacts__current"


@dataclass(frozen=True, slots=True)
class Training:
    """What was trained, for which version, and the file it stands in (not written on a dry run)."""

    version: str
    path: Path
    parameters: MatchParameters


def train_parameters(settings: Settings, version: str, *, dry_run: bool = False) -> Training:
    """Train the comparisons of an identity version on the warehouse's contacts, and write the file beside it.

    Raises NOT_FOUND for a version there is not, POLICY_INVALID for one without `matching`, POLICY_FROZEN for one that decided already,
    WAREHOUSE_MISSING's kin when nothing was transformed yet. The same contacts, policy and Splink give the same file.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    policy, matching = _trainable(policies.versions["identity"], version)
    path = parameters_path(policies.folder / policy.file)
    with tempfile.TemporaryDirectory(prefix="handoff-train-") as scratch:
        copied = Path(scratch) / "contacts.parquet"
        connection = connect(settings)
        try:
            _refuse_used(connection, policy)
            _copy_contacts(connection, copied)
        finally:
            connection.close()
        parameters = _train(copied, matching)
    if not dry_run:
        write_whole(path, parameters_text(parameters))
    return Training(version, path, parameters)


def _trainable(versions: object, version: str) -> tuple[PolicyVersion, Matching]:
    assert isinstance(versions, dict)
    policy = versions.get(version)
    if policy is None:
        raise HandoffError(
            "NOT_FOUND",
            f"no version '{version}' of the identity policy; known: {', '.join(versions)}",
            remedy="Copy the newest version under the next name, change it, and train that.",
        )
    document = policy.document
    assert isinstance(document, IdentityPolicy)
    if document.matching is None:
        raise HandoffError(
            "POLICY_INVALID",
            f"{policy.file} has no `matching`: there is nothing to train",
            remedy="Say what to compare; docs/identity.md shows a section to begin with.",
        )
    return policy, document.matching


def _refuse_used(connection: duckdb.DuckDBPyConnection, policy: PolicyVersion) -> None:
    """Other parameters are another policy: what was decided could not be explained any more."""
    if not has_table(connection, "ops", "policies_used"):
        return
    used = connection.execute(
        "select count(*) from ops.policies_used where kind = 'identity' and version = ?",
        [policy.version],
    ).fetchall()
    if used[0][0]:
        raise HandoffError(
            "POLICY_FROZEN",
            f"{policy.file}: version {policy.version} of identity was used and cannot be trained again",
            remedy="Copy it under the next name (v2.yml), train that with --policy v2, and name it in rollout.yml.",
        )


def _copy_contacts(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    if not has_table(connection, "intermediate", "int_contacts__current"):
        raise HandoffError(
            "NOT_FOUND",
            "the warehouse has no contacts yet",
            remedy="Ingest contacts and run `handoff run`, then train.",
        )
    connection.execute(f"copy (from {_CONTACTS} order by record_key) to '{path}' (format parquet)")


def _train(contacts: Path, matching: Matching) -> MatchParameters:
    import duckdb

    from models.matching.training import train

    # A private database of one thread: sums and samples come out the same every time.
    with contextlib.closing(duckdb.connect(config={"threads": 1})) as connection:
        connection.execute("set timezone = 'UTC'")
        return train(connection, f"read_parquet('{contacts}')", matching)
