"""The simulated org's records: reads, validated writes and their persistence; HTTP shapes are in
salesforce.py.

Every write goes through one lock and one SQLite transaction, so an external id is unique however
many callers race for it, and a write that was answered survives a restart.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ingestion.sandbox.identifiers import RUNTIME_POD, extended_id, salesforce_id
from ingestion.sandbox.salesforce_history import history_row
from ingestion.sandbox.salesforce_schema import READ_ONLY, RESPONDED, SCHEMA, Field
from ingestion.sandbox.soql import Query, Row, run
from ingestion.sandbox.spelling import salesforce_time
from ingestion.sandbox.vocabulary import COUNTRIES
from ingestion.sandbox.world import World

_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s,;<>().]+")
_BOOLEAN_DEFAULT = {"boolean": False}
_COUNTRY_PAIRS = {
    "CountryCode": "Country",
    "MailingCountryCode": "MailingCountry",
    "BillingCountryCode": "BillingCountry",
}


@dataclass(frozen=True, slots=True)
class WriteError:
    """One reason a row was refused, in Salesforce's terms."""

    code: str
    message: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """Outcome of one row: the id when it was written, the errors when it was not."""

    id: str | None
    created: bool = False
    errors: tuple[WriteError, ...] = ()

    @property
    def success(self) -> bool:
        """Whether the row was written."""
        return not self.errors


def refused(code: str, message: str, *fields: str) -> Written:
    """A row refused for one reason."""
    return Written(None, errors=(WriteError(code, message, fields),))


class SalesforceStore:
    """All records of the org: the seeded ones and, over them, what callers wrote.

    `state_path` None keeps writes in memory. One file may hold the writes of several worlds; each
    sees its own. `clock` stamps SystemModstamp, in whole seconds as Salesforce does.
    """

    def __init__(
        self, world: World, state_path: Path | None, clock: Callable[[], datetime]
    ) -> None:
        """Opens the state file and lays its writes over the seeded records."""
        self._world = world
        self._world_key = f"{world.seed}|{world.anchor.isoformat()}"
        self._clock = clock
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self.integration_user = next(
            str(row["Id"]) for row in world.salesforce["User"] if row["LastName"] == "Integration"
        )
        self.rep_user = world.reps[0].user_id
        if state_path is not None:
            state_path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                state_path, check_same_thread=False, isolation_level=None
            )
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
            self._database.execute(
                "create table if not exists salesforce_records ("
                "world text not null, sobject text not null, id text not null, record blob not "
                "null, "
                "primary key (world, sobject, id)) without rowid"
            )
            self._database.execute(
                "create table if not exists worlds (world text primary key, seed integer not null, "
                "anchor text not null, opened integer not null)"
            )
            self._database.execute(
                "insert into worlds values (?, ?, ?, (select coalesce(max(opened), 0) + 1 from "
                "worlds)) "
                "on conflict (world) do update set opened = excluded.opened",
                (self._world_key, world.seed, world.anchor.isoformat()),
            )
        self._load()

    def close(self) -> None:
        """Closes the state file; further writes fail."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def reset(self) -> None:
        """Forgets every write: the org is the seeded one again."""
        with self._lock:
            if self._database is not None:
                self._database.execute(
                    "delete from salesforce_records where world = ?", (self._world_key,)
                )
            self._load()

    # ---- reading ------------------------------------------------------------------------------

    def select(self, query: Query, include_deleted: bool) -> list[Row]:
        """Rows of a parsed query; deleted ones only for queryAll."""
        with self._lock:
            rows: Iterable[Row] = list(self._records[query.sobject].values())
        if not include_deleted:
            rows = [row for row in rows if not row.get("IsDeleted")]
        return run(query, rows)

    def get(self, sobject: str, record_id: str) -> Row | None:
        """The record with this 15- or 18-character id, deleted or not."""
        with self._lock:
            return self._records[sobject].get(extended_id(record_id))

    def find(self, sobject: str, field: str, value: str) -> Row | None:
        """The live record whose external id `field` is `value`."""
        with self._lock:
            record_id = self._external[sobject, field].get(value.casefold())
            return self._records[sobject].get(record_id) if record_id else None

    def counts(self) -> dict[str, int]:
        """Live records by sObject."""
        with self._lock:
            return {
                name: sum(1 for row in rows.values() if not row.get("IsDeleted"))
                for name, rows in self._records.items()
            }

    # ---- writing ------------------------------------------------------------------------------

    def create(
        self, sobject: str, rows: Sequence[Row], user: str, all_or_none: bool = False
    ) -> list[Written]:
        """Inserts each row; results in the order of the rows."""
        return self._write([partial(self._insert, sobject, row, user) for row in rows], all_or_none)

    def update(
        self, targets: Sequence[tuple[str, str, Row]], user: str, all_or_none: bool = False
    ) -> list[Written]:
        """Updates (sObject, id, fields) each; results in the order given."""
        return self._write(
            [
                partial(self._change, sobject, record_id, row, user)
                for sobject, record_id, row in targets
            ],
            all_or_none,
        )

    def upsert(
        self,
        sobject: str,
        field: str,
        rows: Sequence[Row],
        user: str,
        all_or_none: bool = False,
        update_only: bool = False,
    ) -> list[Written]:
        """Updates the record whose external id `field` matches, else inserts; results in the order
        given."""
        seen: set[str] = set()

        def one(row: Row) -> Written:
            key = row.get(field)
            if not isinstance(key, str) or not key:
                return refused("MISSING_ARGUMENT", f"{field} not specified", field)
            if key.casefold() in seen:
                return refused("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", field)
            seen.add(key.casefold())
            found = self.find(sobject, field, key)
            if found is not None:
                return self._change(sobject, str(found["Id"]), row, user)
            if update_only:
                return refused("NOT_FOUND", "The requested resource does not exist", field)
            return self._insert(sobject, row, user)

        return self._write([partial(one, row) for row in rows], all_or_none)

    def delete(
        self, targets: Sequence[tuple[str, str]], user: str, all_or_none: bool = False
    ) -> list[Written]:
        """Puts (sObject, id) each into the recycle bin; queryAll still shows them."""

        def one(sobject: str, record_id: str) -> Written:
            record, error = self._target(sobject, record_id)
            if record is None:
                return error
            self._keep(sobject, {**record, "IsDeleted": True}, user)
            return Written(str(record["Id"]))

        return self._write(
            [partial(one, sobject, record_id) for sobject, record_id in targets],
            all_or_none,
        )

    # ---- inside -------------------------------------------------------------------------------

    def _load(self) -> None:
        self._records: dict[str, dict[str, Row]] = {}
        for sobject, rows in self._world.salesforce.items():
            self._records[sobject] = {str(row["Id"]): self._filled(sobject, row) for row in rows}
        self._created = 0
        self._latest = salesforce_time(self._world.anchor)
        if self._database is not None:
            for sobject, blob in self._database.execute(
                "select sobject, record from salesforce_records where world = ?", (self._world_key,)
            ):
                record: Row = orjson.loads(blob)
                self._records[sobject][str(record["Id"])] = record
                self._latest = max(self._latest, str(record["SystemModstamp"]))
                self._created += str(record["Id"])[3:10] == RUNTIME_POD
        self._external: dict[tuple[str, str], dict[str, str]] = {
            (sobject, field.name): {}
            for sobject, fields in SCHEMA.items()
            for field in fields.values()
            if field.external_id
        }
        for sobject, records in self._records.items():
            for record in records.values():
                self._index(sobject, record)

    def _filled(self, sobject: str, row: Mapping[str, Any]) -> Row:
        """The record with every field of the schema present, so that a read never depends on who
        wrote it."""
        filled: Row = {
            field.name: row.get(field.name, _BOOLEAN_DEFAULT.get(field.kind))
            for field in SCHEMA[sobject].values()
        }
        for name in ("CreatedById", "LastModifiedById"):
            if name in filled:
                filled[name] = filled[name] or filled.get("OwnerId") or self.integration_user
        return _derived(sobject, filled)

    def _index(self, sobject: str, record: Row) -> None:
        for field in SCHEMA[sobject].values():
            value = record.get(field.name)
            if field.external_id and value:
                index = self._external[sobject, field.name]
                if not record.get("IsDeleted"):
                    index[str(value).casefold()] = str(record["Id"])

    def _unindex(self, sobject: str, record: Row) -> None:
        for field in SCHEMA[sobject].values():
            value = record.get(field.name)
            if field.external_id and value:
                index = self._external[sobject, field.name]
                if index.get(str(value).casefold()) == record["Id"]:
                    del index[str(value).casefold()]

    def _write(self, steps: Sequence[Callable[[], Written]], all_or_none: bool) -> list[Written]:
        with self._lock:
            self._changed: dict[tuple[str, str], Row | None] = {}
            created = self._created
            results = [step() for step in steps]
            if all_or_none and not all(result.success for result in results):
                self._created = created
                for (sobject, record_id), before in self._changed.items():
                    self._unindex(sobject, self._records[sobject].pop(record_id))
                    if before is not None:
                        self._records[sobject][record_id] = before
                        self._index(sobject, before)
                return [
                    refused(
                        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                        "Record rolled back because not all records were valid and the request "
                        ""
                        "was using AllOrNone header",
                    )
                    if result.success
                    else result
                    for result in results
                ]
            if self._database is not None and self._changed:
                self._database.execute("begin immediate")
                self._database.executemany(
                    "insert or replace into salesforce_records values (?, ?, ?, ?)",
                    [
                        (
                            self._world_key,
                            sobject,
                            record_id,
                            orjson.dumps(self._records[sobject][record_id]),
                        )
                        for sobject, record_id in self._changed
                    ],
                )
                self._database.execute("commit")
            return results

    def _keep(self, sobject: str, record: Row, user: str) -> None:
        now = max(salesforce_time(self._clock()), self._latest)
        self._latest = now
        record_id = str(record["Id"])
        before = self._records[sobject].get(record_id)
        self._changed.setdefault((sobject, record_id), before)
        record |= {"SystemModstamp": now, "LastModifiedDate": now, "LastModifiedById": user}
        if before is None:
            record |= {"CreatedDate": now, "CreatedById": user}
        else:
            self._unindex(sobject, before)
        if sobject == "Task" and record["IsClosed"] and not record.get("CompletedDateTime"):
            record["CompletedDateTime"] = now
        if sobject == "CampaignMember" and record["HasResponded"]:
            record["FirstRespondedDate"] = record.get("FirstRespondedDate") or now[:10]
        self._records[sobject][record_id] = record
        self._index(sobject, record)
        if sobject == "Opportunity":
            self._keep_history(record, before, now, user)

    def _keep_history(self, record: Row, before: Row | None, now: str, user: str) -> None:
        """A row for each change of stage, amount or close date (Object Reference,
        OpportunityHistory)."""
        watched = ("StageName", "Amount", "CloseDate")
        if before is not None and all(before.get(name) == record.get(name) for name in watched):
            return
        self._created += 1
        row = history_row(
            salesforce_id("OpportunityHistory", self._created, RUNTIME_POD),
            record,
            before,
            now,
            user,
        )
        self._records["OpportunityHistory"][row["Id"]] = row
        self._changed["OpportunityHistory", row["Id"]] = None

    def _insert(self, sobject: str, row: Row, user: str) -> Written:
        if sobject in READ_ONLY:
            return refused("INSUFFICIENT_ACCESS_OR_READONLY", f"{sobject} cannot be created")
        values, errors = self._checked(sobject, row, None)
        missing = [
            field.name
            for field in SCHEMA[sobject].values()
            if field.required and not values.get(field.name)
        ]
        if missing:
            errors.append(
                WriteError(
                    "REQUIRED_FIELD_MISSING",
                    f"Required fields are missing: [{', '.join(missing)}]",
                    tuple(missing),
                )
            )
        if errors:
            return Written(None, errors=tuple(errors))
        self._created += 1
        defaults: Row = {"Id": salesforce_id(sobject, self._created, RUNTIME_POD)}
        if "OwnerId" in SCHEMA[sobject]:
            defaults["OwnerId"] = user
        if sobject == "CampaignMember":
            if bool(values.get("LeadId")) == bool(values.get("ContactId")):
                return refused(
                    "REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId, ContactId]"
                )
            defaults["Status"] = "Sent"
        if sobject in ("Lead", "Task"):
            defaults["Status"] = "Open - Not Contacted" if sobject == "Lead" else "Not Started"
        if sobject == "Task":
            defaults |= {"Priority": "Normal", "TaskSubtype": "Task"}
        known = {name: value for name, value in values.items() if value is not None}
        self._keep(sobject, self._filled(sobject, {**defaults, **known}), user)
        return Written(str(defaults["Id"]), created=True)

    def _target(self, sobject: str, record_id: str) -> tuple[Row | None, Written]:
        if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", record_id):
            return None, refused("MALFORMED_ID", f"bad id {record_id}", "Id")
        record = self.get(sobject, record_id)
        if record is None:
            return None, refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if record.get("IsDeleted"):
            return None, refused("ENTITY_IS_DELETED", "entity is deleted")
        return record, Written(str(record["Id"]))

    def _change(self, sobject: str, record_id: str, row: Row, user: str) -> Written:
        record, result = self._target(sobject, record_id)
        if record is None:
            return result
        if record.get("IsConverted"):
            return refused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        values, errors = self._checked(sobject, row, record)
        emptied = [
            name for name, value in values.items() if SCHEMA[sobject][name].required and not value
        ]
        if emptied:
            errors.append(
                WriteError(
                    "REQUIRED_FIELD_MISSING",
                    f"Required fields are missing: [{', '.join(emptied)}]",
                    tuple(emptied),
                )
            )
        if errors:
            return Written(None, errors=tuple(errors))
        self._keep(sobject, _derived(sobject, {**record, **values}), user)
        return result

    def _checked(self, sobject: str, row: Row, before: Row | None) -> tuple[Row, list[WriteError]]:
        """Values as they are stored, and every reason to refuse them."""
        values: Row = {}
        errors: list[WriteError] = []
        for name, value in row.items():
            if name in ("attributes", "Id", "id"):
                continue
            field = SCHEMA[sobject].get(name)
            if field is None:
                errors.append(
                    WriteError(
                        "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject}"
                    )
                )
            elif not field.writable:
                errors.append(
                    WriteError(
                        "INVALID_FIELD_FOR_INSERT_UPDATE",
                        f"Unable to create/update fields: {name}. Please check the security "
                        ""
                        "settings of this field and verify that it is read/write for your profile "
                        "set.",
                        (name,),
                    )
                )
            else:
                stored, error = _converted(field, value)
                if error is None and stored is not None:
                    error = self._rule_error(sobject, field, stored, before)
                if error is None:
                    values[name] = stored
                else:
                    errors.append(error)
        for code_field, country_field in _COUNTRY_PAIRS.items():
            if values.get(code_field):
                country = COUNTRIES.get(str(values[code_field]))
                values[country_field] = country.name if country else values[code_field]
        return values, errors

    def _rule_error(
        self, sobject: str, field: Field, value: Any, before: Row | None
    ) -> WriteError | None:
        if field.external_id:
            holder = self._external[sobject, field.name].get(str(value).casefold())
            if holder is not None and (before is None or holder != before["Id"]):
                return WriteError(
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {field.name} duplicates value on record with id: "
                    f"{holder[:15]}",
                )
        if field.references:
            found = [
                target
                for name in field.references
                if (target := self._records[name].get(str(value))) is not None
            ]
            if not found:
                return WriteError(
                    "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (field.name,)
                )
            if found[0].get("IsDeleted"):
                return WriteError("ENTITY_IS_DELETED", "entity is deleted", (field.name,))
            if field.name == "OwnerId" and not found[0]["IsActive"]:
                return WriteError(
                    "OPERATION_WITH_INACTIVE_USER_EXCEPTION",
                    f"operation performed with inactive user [{value}] as owner of "
                    f"{sobject.lower()}",
                    (field.name,),
                )
            if field.name == "WhoId" and found[0].get("IsConverted"):
                return WriteError(
                    "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", (field.name,)
                )
        return None


def _derived(sobject: str, record: Row) -> Row:
    """Fields the platform computes from others."""
    if sobject in ("Lead", "Contact"):
        names = (record.get("FirstName"), record.get("LastName"))
        record["Name"] = " ".join(str(name) for name in names if name)
    if sobject == "Task":
        record["IsClosed"] = record.get("Status") == "Completed"
        if not record["IsClosed"]:
            record["CompletedDateTime"] = None
    if sobject == "Opportunity":
        record["IsWon"] = record.get("StageName") == "Closed Won"
        record["IsClosed"] = str(record.get("StageName")).startswith("Closed")
    if sobject == "CampaignMember":
        record["HasResponded"] = record.get("Status") in RESPONDED
    return record


def _converted(field: Field, value: Any) -> tuple[Any, WriteError | None]:
    """`value` as stored, or why its type or size does not fit (REST API Developer Guide, status
    codes)."""
    if value is None or value == "":
        return None, None
    wrong_type = WriteError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {field.kind} from {_json_kind(value)} value "
        f"{value!r} or request "
        "may be missing a required field",
        (field.name,),
    )
    match field.kind:
        case "boolean":
            return (value, None) if isinstance(value, bool) else (None, wrong_type)
        case "double" | "currency" | "percent" | "int":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None, wrong_type
            return (int(value) if field.kind == "int" else float(value)), None
        case "datetime":
            try:
                at = datetime.fromisoformat(str(value))
            except ValueError:
                return None, wrong_type
            # Salesforce reads an instant without offset as UTC.
            return salesforce_time(at if at.tzinfo else at.replace(tzinfo=UTC)), None
        case "date":
            try:
                return date.fromisoformat(str(value)).isoformat(), None
            except ValueError:
                return None, wrong_type
    if not isinstance(value, str):
        return None, wrong_type
    if field.kind == "reference":
        if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", value):
            return None, WriteError(
                "MALFORMED_ID", f"{field.name}: id value of incorrect type: {value}", (field.name,)
            )
        return extended_id(value), None
    if field.length and len(value) > field.length:
        return None, WriteError(
            "STRING_TOO_LONG",
            f"{field.name}: data value too large: {value[:80]} (max length={field.length})",
            (field.name,),
        )
    if field.kind == "email" and not _EMAIL.fullmatch(value):
        return None, WriteError(
            "INVALID_EMAIL_ADDRESS", f"{field.name}: invalid email address: {value}", (field.name,)
        )
    if field.name in _COUNTRY_PAIRS and not re.fullmatch(r"[A-Z]{2}", value):
        return None, WriteError(
            "FIELD_INTEGRITY_EXCEPTION",
            "There's a problem with this country code, even though it may appear correct. "
            "Please select a "
            f"country/territory code from the list of valid codes.: {field.name}",
            (field.name,),
        )
    return value, None


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "VALUE_TRUE" if value else "VALUE_FALSE"
    if isinstance(value, int | float):
        return "VALUE_NUMBER"
    return "VALUE_STRING" if isinstance(value, str) else "START_OBJECT"
