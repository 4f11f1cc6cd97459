"""Puts the policies into the warehouse as rows and keeps used versions frozen; the policies themselves live in `models.policies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from models.policies.load import Policies, check_frozen, load_policies
from models.policies.rows import policy_tables
from orchestration.transform import code_hash_now, hash_policies, made_with

if TYPE_CHECKING:
    import duckdb

_USED_DDL = """
    create schema if not exists ops;
    create table if not exists ops.policies_used (
        kind varchar not null, version varchar not null, content_hash varchar not null, first_used_at timestamptz not null
    )
"""


def load_policy_rows(settings: Settings, *, keep_active: bool = False) -> dict[str, int]:
    """Replace `raw_policies.*` by what the files say; returns rows by table.

    With `keep_active` other active policies than those the warehouse was made with are left to the rebuild beside
    (`orchestration.side_build`), and the rows stay. Raises POLICY_INVALID, naming file and line, before anything is replaced, and
    POLICY_FROZEN when a version that decisions were made with says something else now.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    tables = policy_tables(policies)
    connection = connect(settings)
    try:
        _check_used(connection, policies)
        made = made_with(settings) if keep_active else None
        if made is not None and made.policy_hash != _hash(policies):
            return kept_policy_rows(settings)
        connection.execute("begin")
        connection.execute("create schema if not exists raw_policies")
        for name, table in tables.items():
            connection.register("policy_rows", table)
            connection.execute(
                f"create or replace table raw_policies.{name} as select * from policy_rows"
            )
            connection.unregister("policy_rows")
        deciding = [policy for policy in policies.in_use() if policy.decides]
        connection.executemany(
            "insert into ops.policies_used select $kind, $version, $content_hash, current_timestamp where not exists ("
            "select 1 from ops.policies_used where kind = $kind and version = $version)",
            [
                {
                    "kind": policy.kind,
                    "version": policy.version,
                    "content_hash": policy.content_hash,
                }
                for policy in deciding
            ],
        )
        connection.execute("commit")
    finally:
        connection.close()
    return {name: table.num_rows for name, table in tables.items()}


def kept_policy_rows(settings: Settings) -> dict[str, int]:
    """Rows of `raw_policies.*` as they are, by table."""
    connection = connect(settings)
    try:
        return {
            name: rows
            for name, rows in connection.execute(
                "select table_name, estimated_size from duckdb_tables() where schema_name = 'raw_policies'"
            ).fetchall()
        }
    finally:
        connection.close()


def rebuild_reason(settings: Settings) -> str | None:
    """Why the warehouse has to be rebuilt now, None when it has not to be; raises what `load_policy_rows` raises of the files."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    if not settings.warehouse_path.exists():
        return None
    connection = connect(settings)
    try:
        _check_used(connection, policies)
        made = made_with(settings)
    finally:
        connection.close()
    if made is None:
        # Nothing is there that could stay in use meanwhile: the next batch makes it whole.
        return None
    if made.policy_hash != _hash(policies):
        return "active policies changed"
    return "models changed" if made.code_hash != code_hash_now(settings) else None


def _check_used(connection: duckdb.DuckDBPyConnection, policies: Policies) -> None:
    connection.execute(_USED_DDL)
    used = {
        (kind, version): content_hash
        for kind, version, content_hash in connection.execute(
            "select kind, version, content_hash from ops.policies_used"
        ).fetchall()
    }
    check_frozen(policies, used)


def _hash(policies: Policies) -> str:
    return hash_policies(policies.hashes())
