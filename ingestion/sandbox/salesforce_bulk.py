"""Query jobs of the simulated Bulk API 2.0: created, polled, aborted, deleted, and their results as
CSV page by page.

Shapes follow the Bulk API 2.0 and Bulk API Developer Guide: "Create a Query Job", "Get Information
About a Query Job", "Get Results for a Query Job", "Abort a Query Job", "Delete a Query Job".
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingestion.sandbox.identifiers import extended_id
from ingestion.sandbox.salesforce_refusals import ApiError
from ingestion.sandbox.salesforce_schema import SCHEMA
from ingestion.sandbox.salesforce_store import SalesforceStore
from ingestion.sandbox.soql import Query, Row, parse
from ingestion.sandbox.spelling import salesforce_time

OLDEST_VERSION = 47
RESULTS_DEFAULT = 50_000
# A job is looked at this often before it is done: once waiting, once running.
LOOKS_UNTIL_DONE = 2
DONE = ("JobComplete", "Failed", "Aborted")


@dataclass
class Job:
    """One query job; `rows` is what it found, once it is complete."""

    id: str
    version: str
    operation: str
    query: Query
    user: str
    created: str
    state: str = "UploadComplete"
    looks: int = 0
    error: str | None = None
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """A page of results: CSV, and the headers that say how many and what comes next."""

    content: bytes
    headers: dict[str, str]
    status: int = 200


class BulkJobs:
    """The query jobs of one org. `query_error` lets the next jobs fail with this message, as a query
    that takes too long does."""

    def __init__(self, store: SalesforceStore, clock: Callable[[], datetime]) -> None:
        """Starts without jobs; `clock` dates them."""
        self.jobs: dict[str, Job] = {}
        self.query_error: str | None = None
        self.looks_until_done = LOOKS_UNTIL_DONE
        self._store = store
        self._clock = clock
        self._count = 0

    def answer(
        self,
        method: str,
        version: str,
        rest: list[str],
        user: str,
        given: Row,
        params: Mapping[str, str],
    ) -> Row | BulkAnswer | None:
        """The answer to `method` on `/jobs/query/<rest>`; None is 204."""
        if int(version.removeprefix("v").partition(".")[0]) < OLDEST_VERSION:
            raise ApiError("NOT_FOUND", "The requested resource does not exist")
        match method, rest:
            case "POST", []:
                return self._shown(self._create(version, user, given))
            case "GET", []:
                listed = [self._shown(job) for job in self.jobs.values()]
                return {"done": True, "records": listed, "nextRecordsUrl": None}
            case "GET", [job_id]:
                return self._looked_at(self._job(job_id))
            case "GET", [job_id, "results"]:
                return self._results(self._job(job_id), version, params)
            case "PATCH", [job_id]:
                return self._abort(self._job(job_id), given)
            case "DELETE", [job_id]:
                job = self._job(job_id)
                if job.state not in DONE:
                    raise ApiError(
                        "API_ERROR",
                        "Error encountered when deleting the job because the job is not terminated",
                    )
                del self.jobs[job.id]
                return None
        raise ApiError("NOT_FOUND", "The requested resource does not exist")

    def _create(self, version: str, user: str, given: Row) -> Job:
        operation, text = given.get("operation"), given.get("query")
        if operation not in ("query", "queryAll") or not isinstance(text, str):
            raise ApiError("INVALIDJOB", "operation must be query or queryAll, with a query")
        if given.get("contentType", "CSV") != "CSV":
            raise ApiError("INVALIDJOB", "contentType must be CSV")
        query = parse(text)
        if query.is_count or query.offset:
            raise ApiError("INVALIDJOB", "COUNT() and OFFSET are not supported by Bulk API 2.0")
        self._count += 1
        job = Job(
            id=extended_id(f"7509h0000{self._count:06d}"),
            version=version,
            operation=operation,
            query=query,
            user=user,
            created=salesforce_time(self._clock()),
        )
        self.jobs[job.id] = job
        return job

    def _job(self, job_id: str) -> Job:
        job = self.jobs.get(extended_id(job_id))
        if job is None:
            raise ApiError("NOT_FOUND", "The requested resource does not exist")
        return job

    def _looked_at(self, job: Job) -> Row:
        """A job goes on with each look, so that a test needs no clock."""
        if job.state not in DONE:
            job.looks += 1
            job.state = "InProgress"
            if job.looks >= self.looks_until_done:
                job.error = self.query_error
                job.state = "Failed" if job.error else "JobComplete"
                if job.error is None:
                    job.rows = self._store.select(
                        job.query, include_deleted=job.operation == "queryAll"
                    )
        shown = self._shown(job)
        shown |= {"numberRecordsProcessed": len(job.rows), "retries": 0, "totalProcessingTime": 40}
        return shown | ({"errorMessage": job.error} if job.error else {})

    def _abort(self, job: Job, given: Row) -> Row:
        if given.get("state") != "Aborted":
            raise ApiError("INVALIDJOB", "a query job can only be set to Aborted")
        if job.state in DONE:
            raise ApiError("INVALIDJOBSTATE", f"a job that is {job.state} cannot be aborted")
        job.state = "Aborted"
        return self._shown(job)

    def _results(self, job: Job, version: str, params: Mapping[str, str]) -> BulkAnswer:
        if version != job.version:
            raise ApiError("INVALID_VERSION", f"the job was made with {job.version}", (), 409)
        if job.state != "JobComplete":
            raise ApiError(
                "JOB_NOT_COMPLETE",
                "can only download query results of successfully completed bulk job with status: "
                f"JOB_COMPLETE. Current status: {job.state}",
                (),
                412,
            )
        asked = params.get("maxRecords", "")
        size = min(int(asked), RESULTS_DEFAULT) if asked.isdigit() else RESULTS_DEFAULT
        start = _offset(params.get("locator"))
        page = job.rows[start : start + size]
        end = start + len(page)
        return BulkAnswer(
            _csv(job.query, page),
            {
                "Sforce-NumberOfRecords": str(len(page)),
                "Sforce-Locator": _locator(end) if end < len(job.rows) else "null",
            },
        )

    def _shown(self, job: Job) -> Row:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.query.sobject,
            "createdById": job.user,
            "createdDate": job.created,
            "systemModstamp": salesforce_time(self._clock()),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version.removeprefix("v")),
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }


def _locator(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def _offset(locator: str | None) -> int:
    if not locator:
        return 0
    try:
        return int(base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)))
    except ValueError:
        raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator") from None


def _csv(query: Query, rows: list[Row]) -> bytes:
    """Every cell quoted, each page with the header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(query.fields)
    kinds = [SCHEMA[query.sobject][name].kind for name in query.fields]
    for row in rows:
        writer.writerow(
            _cell(kind, row.get(name)) for kind, name in zip(kinds, query.fields, strict=True)
        )
    return text.getvalue().encode()


def _cell(kind: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == "datetime":
        return str(value).replace("+0000", "Z")
    return str(value)
