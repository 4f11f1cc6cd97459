"""Writes what derives from the contracts: dlt hints, dbt sources, picklists as SQL, suites of the raw door."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ingestion.contracts.columns import (
    OUTCOMES,
    REJECTIONS,
    Column,
    dlt_columns,
    raw_tables,
    table_columns,
)
from ingestion.contracts.picklists import picklists
from ingestion.contracts.registry import (
    enum_document,
    enum_values,
    schema,
    table_version,
)

COMMAND = "python -m ingestion.contracts.generate"
PROJECT_ROOT = Path(__file__).parents[2]
HINTS_FILE = "ingestion/contracts/generated/dlt_columns.json"
SOURCES_FILE = "dbt_project/models/staging/events/_events__sources.generated.yml"
MACRO_FILE = "dbt_project/macros/canonical_value.generated.sql"
SUITES_FOLDER = "expectations/suites"
_SUITE_FILES = "raw_events__*.generated.json"


def main(arguments: Sequence[str] | None = None, root: Path = PROJECT_ROOT) -> int:
    """Write the derived files below `root`; with --check only name stale ones and return 1."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="name stale files instead of writing")
    checking = parser.parse_args(arguments).check
    stale = stale_files(root)
    if checking:
        for name in stale:
            print(f"stale: {name}", file=sys.stderr)
        if stale:
            print(f"Run `{COMMAND}` and commit what it writes.", file=sys.stderr)
        return 1 if stale else 0
    wanted = derived_files()
    for name in stale:
        file = root / name
        if name in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[name], encoding="utf-8")
        else:
            file.unlink()
        print(f"{'wrote' if name in wanted else 'removed'} {name}")
    return 0


def stale_files(root: Path = PROJECT_ROOT) -> list[str]:
    """Derived files that are missing, out of date, or that no contract wants any more."""
    wanted = derived_files()
    present = {
        file.relative_to(root).as_posix() for file in (root / SUITES_FOLDER).glob(_SUITE_FILES)
    }
    differing = {name for name, text in wanted.items() if _text(root / name) != text}
    return sorted(differing | (present - wanted.keys()))


def derived_files() -> dict[str, str]:
    """Content of every derived file by its path from the project's root."""
    tables = raw_tables()
    suites = {
        f"{SUITES_FOLDER}/raw_events__{table}.generated.json": _json(_suite(record, table))
        for record, table in tables.items()
    }
    hints = {table: dlt_columns(record) for record, table in tables.items()}
    return {
        HINTS_FILE: _json(hints),
        SOURCES_FILE: _yaml(_sources(tables)),
        MACRO_FILE: _macro(),
        **suites,
    }


def _macro() -> str:
    """The picklists of the enum registry as one SQL expression: a system's own word becomes ours."""
    known = orjson.dumps(picklists(), option=orjson.OPT_INDENT_2).decode()
    return f"""{{# Generated from ingestion/contracts/enums by `{COMMAND}`; do not edit.
   Our value of what a system's picklist says; null for a word the registry does not know. The variable `picklists` tries other meanings. #}}
{{% macro canonical_value(enum, system, column) -%}}
{{%- set picklists = var('picklists', none) or {known} -%}}
case {{{{ column }}}}
    {{% for theirs, ours in picklists[enum][system].items() -%}}
    when '{{{{ theirs }}}}' then '{{{{ ours }}}}'
    {{% endfor -%}}
end
{{%- endmacro %}}
"""


def _sources(tables: dict[str, str]) -> dict[str, Any]:
    source = {
        "name": "raw_events",
        "schema": "raw_events",
        "description": "Canonical records from our API, webhooks and files; append-only.",
        "config": {"meta": {"owner": "team:data"}},
        "tables": [
            {
                "name": table,
                "description": _table_description(record),
                "columns": [_source_column(column) for column in table_columns(record)]
                + [_load_id_column()],
            }
            for record, table in tables.items()
        ]
        + [_loads_table()],
    }
    return {"version": 2, "sources": [source]}


def _table_description(record: str) -> str:
    if record == REJECTIONS:
        return "One row per event that was not accepted, with the reason and what was sent."
    if record == OUTCOMES:
        return "One row per time a rejection was taken again; the newest of a rejection counts."
    description = schema(record, table_version(record))["description"]
    return f"One row per accepted {record.replace('_', ' ')} event. {description}"


def _source_column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "description": column.description,
        "config": {"meta": {"pii": column.pii}},
    }
    tests: list[Any] = []
    if not column.nullable:
        tests.append("not_null")
    if column.name == "seq":
        tests.append("unique")
    if column.enum:
        tests.append({"accepted_values": {"arguments": {"values": list(enum_values(column.enum))}}})
        entry["description"] += _meanings(column.enum)
    return entry | ({"data_tests": tests} if tests else {})


def _meanings(enum: str) -> str:
    options = enum_document(enum)["oneOf"]
    return "".join(f"\n- `{option['const']}`: {option['description']}" for option in options)


def _load_id_column() -> dict[str, Any]:
    return {
        "name": "_dlt_load_id",
        "description": "Id of the dlt load that brought the row, text; only completed loads count.",
        "config": {"meta": {"pii": "none"}},
        "data_tests": ["not_null"],
    }


def _loads_table() -> dict[str, Any]:
    columns = {
        "load_id": "Id of the load, text: seconds since 1970 when it began.",
        "schema_name": "Name of dlt's schema.",
        "status": "0 when the load is complete; rows of any other load do not count.",
        "inserted_at": "When the load was closed, in UTC.",
        "schema_version_hash": "Hash of dlt's schema at the load.",
    }
    return {
        "name": "_dlt_loads",
        "description": "One row per load package, kept by dlt.",
        "columns": [
            {"name": name, "description": text, "config": {"meta": {"pii": "none"}}}
            for name, text in columns.items()
        ],
    }


def _suite(record: str, table: str) -> dict[str, Any]:
    columns = table_columns(record)
    expectations = [
        _expectation(
            "expect_table_columns_to_match_set",
            # The loader's own columns stand beside the contract's, so the set is a lower bound.
            {"column_set": [column.name for column in columns], "exact_match": False},
        )
    ]
    for column in columns:
        if not column.nullable:
            expectations.append(
                _expectation("expect_column_values_to_not_be_null", {"column": column.name})
            )
        if column.name == "seq":
            expectations.append(
                _expectation("expect_column_values_to_be_unique", {"column": column.name})
            )
        if column.enum:
            values = {"column": column.name, "value_set": list(enum_values(column.enum))}
            expectations.append(_expectation("expect_column_values_to_be_in_set", values))
    return {
        "name": f"raw_events__{table}",
        "expectations": expectations,
        "meta": {"generated_by": COMMAND, "door": "raw"},
    }


def _expectation(kind: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {"source": "contract"}}


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import LiteralScalarString

    def literal(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: literal(item) for key, item in node.items()}
        if isinstance(node, list):
            return [literal(item) for item in node]
        return LiteralScalarString(node) if isinstance(node, str) and "\n" in node else node

    writer = YAML()
    writer.indent(mapping=2, sequence=4, offset=2)
    # ruamel leaves trailing blanks where it folds, so it does not fold.
    writer.width = 10_000
    text = io.StringIO()
    text.write(f"# Generated from ingestion/contracts by `{COMMAND}`; do not edit.\n")
    writer.dump(literal(value), text)
    return text.getvalue()


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
