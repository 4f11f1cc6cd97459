"""Puts the policies into the warehouse as rows and keeps used versions frozen; the policies themselves live in `models.policies`."""

from __future__ import annotations

from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from models.policies.load import check_frozen, load_policies
from models.policies.rows import policy_tables

_USED_DDL = """
    create schema if not exists ops;
    create table if not exists ops.policies_used (
        kind varchar not null, version varchar not null, content_hash varchar not null, first_used_at timestamptz not null
    )
"""


def load_policy_rows(settings: Settings) -> dict[str, int]:
    """Replace `raw_policies.*` by what the files say; returns rows by table.

    Raises POLICY_INVALID, naming file and line, before anything is replaced, and POLICY_FROZEN when a version that decisions were made with
    says something else now.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    tables = policy_tables(policies)
    connection = connect(settings)
    try:
        connection.execute(_USED_DDL)
        used = {
            (kind, version): content_hash
            for kind, version, content_hash in connection.execute(
                "select kind, version, content_hash from ops.policies_used"
            ).fetchall()
        }
        check_frozen(policies, used)
        connection.execute("begin")
        connection.execute("create schema if not exists raw_policies")
        for name, table in tables.items():
            connection.register("policy_rows", table)
            connection.execute(
                f"create or replace table raw_policies.{name} as select * from policy_rows"
            )
            connection.unregister("policy_rows")
        connection.execute(
            "insert into ops.policies_used select kind, version, content_hash, current_timestamp "
            "from raw_policies.policy_versions as loaded where is_active and not exists ("
            "select 1 from ops.policies_used as used where used.kind = loaded.kind and used.version = loaded.version)"
        )
        connection.execute("commit")
    finally:
        connection.close()
    return {name: table.num_rows for name, table in tables.items()}
