"""A batch on the hot path costs what it holds: DuckDB's own profile of every statement shows no
table of history read whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from benchmarks import records
from benchmarks.query_profiles import ROW_GROUP, Query, recorded_queries

# More of each than a row group holds.
PEOPLE = 125_000
ACTIVITIES = 300_000
AS_OF = records.ANCHOR + timedelta(days=60)
# What made the past landed long ago: load ids are epoch seconds.
PAST_LOAD = "1700000000.0"
# As many rows as there are people or activities.
GROWS_WITH_THE_PAST = (
    "raw_events.activities",
    "raw_events.contacts",
    "raw_events.consents",
    "intermediate.int_activities__unioned",
    "intermediate.int_accounts__people",
    "intermediate.int_contacts__account_keys",
    "intermediate.int_contacts__versions",
    "intermediate.int_contacts__current",
    "intermediate.int_consents__versions",
    "intermediate.int_consents__destinations",
    "intermediate.int_identifiers__normalized",
    "intermediate.int_identity__history",
    "intermediate.int_identity__identifiers",
    "intermediate.int_identity__people",
    "intermediate.int_identity__records",
    "intermediate.int_identity__sightings",
    "marts.dim_people",
    "marts.entity_map",
    "marts.fct_activities",
    "marts.fct_consents",
    "marts.fct_score_ledger",
)


def read_whole(queries: list[Query]) -> set[tuple[str, str]]:
    """Model and stored table of every scan that read all of a table."""
    return {(query.node, scan.table) for query in queries for scan in query.scans if scan.is_full}


def found_by_index(queries: list[Query]) -> set[str]:
    """Tables an index was asked for rows of."""
    return {scan.table for query in queries for scan in query.scans if scan.by_index}


@pytest.fixture(scope="module")
def warehouse(open_warehouse: Callable[..., Any]) -> Any:
    """Many people and their past, rebuilt; the past was made in SQL, as if loaded years ago."""
    from ingestion.landing.warehouse import connect

    opened = open_warehouse()
    reps = [event for event in records.world(1) if event["type"] == "com.handoff.rep"]
    known = records.ANCHOR - timedelta(days=30)
    log = [*reps, records.contact(PEOPLE, known), records.consent(PEOPLE, known)]
    log += [records.page_view(ACTIVITIES, PEOPLE, known)]
    log += [
        records.event(
            "account",
            "acme",
            known,
            # Everybody's: the past is one person's with other numbers, but for the company's.
            {
                "record_id": "acme",
                "system": "web",
                "name": "Acme",
                "domain": f"company-{PEOPLE % 997}.example",
            },
        )
    ]
    opened.append(log)
    opened.land()
    connection = connect(opened.settings)
    try:
        # One row of each kind came through the log; the others are it with other numbers in it.
        for table, model, count in (
            ("contacts", PEOPLE, PEOPLE),
            ("consents", PEOPLE, PEOPLE),
            ("activities", ACTIVITIES, ACTIVITIES),
        ):
            columns = connection.execute(
                "select column_name, data_type from duckdb_columns()"
                " where schema_name = 'raw_events' and table_name = ? order by column_index",
                [table],
            ).fetchall()
            replaced = {
                "seq": "-number",
                "phone": "null",
                "occurred_at": "occurred_at - to_seconds(number)",
                "_dlt_load_id": f"'{PAST_LOAD}'",
                # Some of every kind everywhere, or whole row groups could be skipped for lack of them.
                "system": "case when number % 1000 = 0 then 'salesforce' else system end",
            }
            selected = ", ".join(
                replaced.get(name)
                or (
                    f"replace(replace({name}, '{PEOPLE}', (number % {PEOPLE})::varchar), '{model}', number::varchar)"
                    if kind == "VARCHAR"
                    else name
                )
                for name, kind in columns
            )
            connection.execute(
                f"insert into raw_events.{table} select {selected} from raw_events.{table},"
                f" range({count}) as numbers (number)"
            )
        connection.execute(
            "insert into raw_events._dlt_loads select * replace"
            f" ('{PAST_LOAD}' as load_id) from raw_events._dlt_loads limit 1"
        )
    finally:
        connection.close()
    assert opened.transform(AS_OF).is_full_refresh
    return opened


def hot_batch(warehouse: Any, number: int) -> list[Query]:
    """One batch: people known for long ask for a demo, and so do some who are new."""
    now = AS_OF + timedelta(minutes=number)
    first = number * 1_000
    strangers = range(PEOPLE + first, PEOPLE + first + 5)
    warehouse.append(
        [
            *(
                records.form_submit(ACTIVITIES + first + n, 97 * n, "contact_sales", now)
                for n in range(30)
            ),
            *(records.page_view(ACTIVITIES + first + 50 + n, 89 * n, now) for n in range(5)),
            *(records.contact(person, now) for person in strangers),
            *(records.consent(person, now) for person in strangers),
            *(
                records.form_submit(ACTIVITIES + first + 100 + person, person, "contact_sales", now)
                for person in strangers
            ),
        ]
    )
    with recorded_queries() as queries:
        done = warehouse.transform(now + timedelta(seconds=1), scope="decisions")
    assert done.scope == "decisions"
    return queries


def test_a_hot_batch_reads_no_table_whole(warehouse: Any) -> None:
    sizes = dict(
        warehouse.rows(
            "select schema_name || '.' || table_name, estimated_size from duckdb_tables()"
        )
    )
    assert [table for table in GROWS_WITH_THE_PAST if sizes[table] <= ROW_GROUP] == []
    accounts = "select rowid, record_id from marts.entity_map where record_type = 'account'"
    as_they_lie = warehouse.rows(accounts)
    queries = hot_batch(warehouse, 1)
    assert read_whole(queries) == set()
    assert warehouse.rows(accounts) == as_they_lie != [], "rows of accounts were written anew"
    # Nor when what batches write has begun to lie about.
    assert read_whole(hot_batch(warehouse, 2)) == set()
    assert {
        "marts.fct_activities",
        "marts.fct_score_ledger",
        "marts.entity_map",
        "intermediate.int_activities__unioned",
        "intermediate.int_identity__identifiers",
        "intermediate.int_identity__history",
        "intermediate.int_identity__sightings",
    } <= found_by_index(queries)
    assert warehouse.rows("select count(*) > 0 from sync.sync_salesforce__leads") == [(True,)]


def test_without_its_index_a_table_is_read_whole_and_it_shows(warehouse: Any) -> None:
    [(index,)] = warehouse.rows(
        "select index_name from duckdb_indexes() where table_name = 'fct_activities'"
    )
    warehouse.rows(f'drop index marts."{index}"')
    assert read_whole(hot_batch(warehouse, 3)) == {
        ("fct_activities", "marts.fct_activities"),
        ("fct_score_ledger", "marts.fct_activities"),
    }
