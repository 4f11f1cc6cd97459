"""Models of the dbt project on a DuckDB connection without dbt: their own SQL, macros, hooks and incremental strategies, rendered and
run as dbt does. A batch takes milliseconds, so that thousands of histories can be told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
from jinja2 import Environment, Template

from dbt_project.plugins import matching, normalization

PROJECT = Path(__file__).parents[2] / "dbt_project"
MACRO = re.compile(r"\{%-? macro (?P<name>\w+)\(.*?\{%-? endmacro -?%\}", re.DOTALL)
SCHEMAS = ("staging", "intermediate", "marts", "ops", "raw_policies")


class Relation(str):
    """A table by its name, schema included; prints as itself."""

    @property
    def schema(self) -> str:
        return self.partition(".")[0]

    @property
    def identifier(self) -> str:
        return self.partition(".")[2]

    database = "memory"


class Current:
    """dbt's `this`: whatever model is being made."""

    def __init__(self) -> None:
        self.relation = Relation("")

    def __str__(self) -> str:
        return str(self.relation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.relation, name)


class Config(dict[str, Any]):
    """dbt's `config`: called by a model, asked by macros."""

    def __call__(self, **told: Any) -> str:
        self.update(told)
        return ""

    def require(self, name: str) -> Any:
        return self[name]


class Returned(Exception):
    """What a macro gives back, in place of its text."""


def give_back(value: Any) -> None:
    raise Returned(value)


class Models:
    """The models; `connection` may be replaced by another one."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.variables: dict[str, str] = {
            "since": "", "since_as_of": "", "as_of": "", "components_in_memory": "1000000"
        }  # fmt: skip
        self.is_full_refresh = False
        self._this = Current()
        self._config = Config()
        self._flags = SimpleNamespace(FULL_REFRESH=False)
        self._templates: dict[str, Template] = {}
        self._files = {path.stem: path for path in (PROJECT / "models").rglob("*.sql")}
        self._environment = Environment(extensions=["jinja2.ext.do"])
        self._environment.globals.update(
            {
                "execute": True,
                "this": self._this,
                "target": SimpleNamespace(database="memory"),
                "config": self._config,
                "flags": self._flags,
                "ref": self.relation,
                "source": lambda schema, table: Relation(f"{schema}.{table}"),
                "var": self.variables.__getitem__,
                "return": give_back,
                "run_query": self.run_query,
                "is_incremental": self.is_incremental,
                "load_relation": self.load_relation,
                "should_full_refresh": lambda: self.is_full_refresh,
                "tojson": json.dumps,
                "api": SimpleNamespace(
                    Relation=SimpleNamespace(
                        create=lambda schema, identifier, database: Relation(
                            f"{schema}.{identifier}"
                        )
                    )
                ),
                "adapter": SimpleNamespace(
                    dispatch=lambda name: self.macros[f"default__{name}"],
                    get_relation=lambda database, schema, identifier: self.load_relation(
                        Relation(f"{schema}.{identifier}")
                    ),
                ),
            }
        )
        self.macros = self._load_macros()
        self.connect(connection)

    def connect(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Work on this connection, an empty one, from here on."""
        self.connection = connection
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists {schema}")
        for plugin in (matching, normalization):
            plugin.Plugin("plugin", None).configure_connection(connection)  # type: ignore[no-untyped-call]

    def relation(self, name: str) -> Relation:
        """The table a model is; of a staging model nothing was told of, an empty one."""
        if not name.startswith("stg_"):
            path = self._files[name].relative_to(PROJECT / "models")
            return Relation(f"{path.parts[0]}.{name}")
        told = Relation(f"staging.{name}")
        return told if self.load_relation(told) else Relation("staging.nothing")

    def run(self, names: Iterable[str], *, full_refresh: bool = False) -> None:
        """Make these models, in this order."""
        self.is_full_refresh = self._flags.FULL_REFRESH = full_refresh
        for name in names:
            self._run(name)

    def run_query(self, sql: str) -> Table:
        """Runs the statement; the result's columns as agate gives them, and its rows."""
        found = self.connection.execute(sql)
        names = [column[0] for column in found.description or []]
        rows = [Row(names, row) for row in found.fetchall()] if names else []
        return Table(names, rows)

    def is_incremental(self) -> bool:
        """As dbt says it of the model being made."""
        return (
            self._config.get("materialized") == "incremental"
            and not self.is_full_refresh
            and self.load_relation(self._this.relation) is not None
        )

    def load_relation(self, relation: Any) -> Relation | None:
        """The table or view, where there is one."""
        named = Relation(relation)
        found = self.connection.execute(
            "select 1 from duckdb_tables() where schema_name = $schema and table_name = $name "
            "union all select 1 from duckdb_views() where schema_name = $schema and view_name = $name",
            {"schema": named.schema, "name": named.identifier},
        ).fetchone()
        return named if found else None

    def _run(self, name: str) -> None:
        target = self._this.relation = self.relation(name)
        self._config.clear()
        path = self._files[name]
        source = path.read_text(encoding="utf-8")
        # A model's config comes first and decides what is_incremental() says after it.
        sql = self._rendered(source)
        self._hook("pre_hook")
        if self._config.get("materialized") == "view":
            self.connection.execute(f"create or replace view {target} as {sql}")
        elif not self.is_incremental():
            self.connection.execute(f"create or replace table {target} as {sql}")
        else:
            came = f"{target.identifier}__came"
            self.connection.execute(f"create or replace temp table {came} as {sql}")
            for statement in self._strategy(target, came).split(";"):
                if statement.strip():
                    self.connection.execute(statement)
            self.connection.execute(f"drop table {came}")
        self._hook("post_hook")

    def _hook(self, kind: str) -> None:
        if kind in self._config:
            sql = self._rendered(self._config[kind]).strip()
            if sql:
                self.connection.execute(sql)

    def _strategy(self, target: Relation, came: str) -> str:
        """Statements that bring the rows of `came` into `target`."""
        columns = [
            f'"{row[0]}"'
            for row in self.connection.execute(f"select column_name from (describe {target})").fetchall()
        ]  # fmt: skip
        listed = ", ".join(columns)
        insert = f"insert into {target} ({listed}) select {listed} from {came}"
        strategy = self._config["incremental_strategy"]
        if strategy == "append":
            return insert
        if strategy == "delete+insert":
            key = self._config["unique_key"]
            return f"delete from {target} where {key} in (select {key} from {came}); {insert}"
        told = self.macros[f"get_incremental_{strategy}_sql"](
            {
                "target_relation": target,
                "temp_relation": Relation(came),
                "dest_columns": [SimpleNamespace(quoted=column) for column in columns],
                "unique_key": self._config.get("unique_key"),
            }
        )
        return str(told)

    def rendered(self, source: str, **told: Any) -> str:
        """SQL of a template that sees the macros, and what it is told."""
        return self._environment.from_string(source).render(**told)

    def _rendered(self, source: str) -> str:
        if source not in self._templates:
            self._templates[source] = self._environment.from_string(source)
        return self._templates[source].render()

    def _load_macros(self) -> dict[str, Callable[..., Any]]:
        """Each in a template of its own, so that one that gives back early ends alone; they find each other by name."""
        text = "".join(path.read_text() for path in sorted((PROJECT / "macros").glob("*.sql")))
        sources = {found["name"]: found[0] for found in MACRO.finditer(text)}
        bodies: dict[str, Callable[..., Any]] = {}
        macros = {name: _returning(bodies, name) for name in sources}
        self._environment.globals.update(macros)
        for name, source in sources.items():
            bodies[name] = getattr(self._environment.from_string(source).module, name)
        return macros


class Row(tuple[Any, ...]):
    """A row that is asked by place or by name, as agate's are."""

    _names: list[str]

    def __new__(cls, names: list[str], values: Iterable[Any]) -> Row:
        row = super().__new__(cls, values)
        row._names = names
        return row

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._names.index(key) if isinstance(key, str) else key)


class Table(list[Row]):
    """A result as agate gives it: its rows, also one by one, and its columns."""

    def __init__(self, names: list[str], rows: list[Row]) -> None:
        super().__init__(rows)
        self.rows = rows
        self.columns = [
            SimpleNamespace(values=lambda index=index: [row[index] for row in rows])
            for index in range(len(names))
        ]


def _returning(bodies: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The macro of this name, ended by its first `return` as dbt's are."""

    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return bodies[name](*arguments, **named)
        except Returned as returned:
            return returned.args[0]

    return called
