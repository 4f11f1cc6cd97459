"""Marketo's wire as its source reads it: tokens, refusals inside 200, paging, exports, what a version
is as old as."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.marketo import source
from ingestion.connectors.marketo.client import Client, refusal
from ingestion.connectors.marketo.limits import SubscriptionLimits
from ingestion.connectors.polling import Session
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration import polling

SINCE = "2026-04-01T00:00:00+00:00"
TOKEN = "identity/oauth/token"
PLACE = "rest/v1/activities/pagingtoken.json"
Answer = dict[str, Any]


def refused(code: str) -> Answer:
    return {
        "requestId": "1#2",
        "success": False,
        "errors": [{"code": code, "message": "as documented"}],
    }


def told(result: list[Any] | None = None, **more: Any) -> Answer:
    return {
        "requestId": "1#2",
        "success": True,
        **({} if result is None else {"result": result}),
        **more,
    }


class Marketo:
    """Answers each path with what is queued for it, the last one for ever; keeps what was asked."""

    def __init__(self, **settings: Any) -> None:
        self.answers: dict[str, list[Any]] = {
            TOKEN: [{"access_token": "first", "expires_in": 3599}],
            PLACE: [told(nextPageToken="START")],
        }
        self.asked: list[httpx.Request] = []
        self.waits: list[float] = []
        fields = {"marketo_client_id": "id", "marketo_client_secret": "secret", **settings}
        self.settings = Settings(home=Path("/nowhere"), marketo_url="https://x.example", **fields)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path = request.url.path.removeprefix("/")
        queue = self.answers[path]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer)

    def client(self, limits: SubscriptionLimits | None = None) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self), base_url="https://x.example/")
        session = Session("marketo", http, self.waits.append, limits=limits, judge=refusal)
        return Client(session, self.settings)

    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/") for request in self.asked]

    def queries(self, path: str) -> list[dict[str, str]]:
        return [
            dict(request.url.params)
            for request in self.asked
            if request.url.path.removeprefix("/") == path
        ]


@pytest.fixture
def marketo() -> Marketo:
    return Marketo()


@pytest.fixture
def extract(
    marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[list[Extracted]]]:
    @contextmanager
    def opened(settings: Settings) -> Iterator[Client]:
        yield marketo.client()

    monkeypatch.setattr(source, "opened", opened)
    return lambda resource, since=SINCE: list(source.extract(resource, since, marketo.settings))


def activity(number: int, kind: int, at: str, **more: Any) -> Answer:
    row = {"id": number, "marketoGUID": str(number), "leadId": 7, "activityDate": at}
    return {**row, "activityTypeId": kind, "attributes": [], **more}


def described(**types: str) -> Answer:
    return told([{"rest": {"name": name}, "dataType": kind} for name, kind in types.items()])


# ---- tokens and refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["601", "602"])
def test_a_token_that_ran_out_inside_an_answer_of_200_is_renewed_once(
    marketo: Marketo, code: str
) -> None:
    marketo.answers[TOKEN].append({"access_token": "second", "expires_in": 3599})
    marketo.answers["rest/v1/campaigns.json"] = [refused(code), told([{"id": 1}])]
    assert list(marketo.client().listed("rest/v1/campaigns.json", {})) == [{"id": 1}]
    headers = [request.headers.get("authorization") for request in marketo.asked]
    # The token that ran out is not sent to the log-in.
    assert headers == [None, "Bearer first", None, "Bearer second"]
    assert marketo.asked[0].method == "POST" and not marketo.asked[0].url.query
    assert b"client_secret=secret" in marketo.asked[0].content


def test_a_token_that_is_refused_again_ends_the_poll(marketo: Marketo) -> None:
    marketo.answers["rest/v1/campaigns.json"] = [refused("602")]
    with pytest.raises(HandoffError, match="602: as documented") as error:
        marketo.client().get("rest/v1/campaigns.json")
    assert error.value.code == "AUTH_EXPIRED"
    assert marketo.paths().count("rest/v1/campaigns.json") == 2


def test_wrong_credentials_name_the_settings(marketo: Marketo) -> None:
    marketo.answers[TOKEN] = [httpx.Response(401, json={"error": "invalid_client"})]
    with pytest.raises(HandoffError) as error:
        marketo.client().get("rest/v1/campaigns.json")
    assert error.value.code == "AUTH_EXPIRED"
    assert "HANDOFF_MARKETO_CLIENT_SECRET" in error.value.remedy


@pytest.mark.parametrize("missing", ["marketo_client_id", "marketo_client_secret"])
def test_a_poll_without_credentials_says_so(missing: str) -> None:
    with pytest.raises(HandoffError) as error:
        Marketo(**{missing: None}).client().get("rest/v1/campaigns.json")
    assert error.value.code == "SYSTEM_NOT_CONFIGURED"


@pytest.mark.parametrize(
    ("code", "ours", "calls"),
    [
        ("603", "SCOPE_DENIED", 1),
        ("606", "RATE_LIMITED", 6),
        ("607", "QUOTA_EXHAUSTED", 1),
        ("610", "UPSTREAM_REJECTED", 1),
        ("611", "UPSTREAM_UNAVAILABLE", 6),
        ("615", "RATE_LIMITED", 6),
        ("713", "UPSTREAM_LOCKED", 6),
        ("1003", "UPSTREAM_REJECTED", 1),
        ("1029", "QUOTA_EXHAUSTED", 1),
    ],
)
def test_a_refusal_inside_an_answer_of_200_is_ours_and_repeated_where_that_helps(
    marketo: Marketo, code: str, ours: str, calls: int
) -> None:
    marketo.answers["rest/v1/campaigns.json"] = [refused(code)]
    with pytest.raises(HandoffError) as error:
        marketo.client().get("rest/v1/campaigns.json")
    assert (error.value.code, marketo.paths().count("rest/v1/campaigns.json")) == (ours, calls)
    assert f"{code}: as documented" in error.value.message
    assert (20.0 in marketo.waits) == (code == "606")


def test_what_refuses_nothing_is_an_answer() -> None:
    assert refusal({"success": True, "errors": [], "warnings": ["No assets found"]}) is None
    assert refusal({"access_token": "x"}) is None
    unreadable = refusal({"success": False})
    assert unreadable is not None and unreadable.error.code == "UPSTREAM_REJECTED"


def test_calls_keep_to_their_share_of_the_limit(marketo: Marketo) -> None:
    now = [1_000.0]
    marketo.answers["rest/v1/campaigns.json"] = [told([])]
    client = marketo.client(SubscriptionLimits(3, 100, lambda: now[0]))
    for _ in range(3):
        client.get("rest/v1/campaigns.json")
        now[0] += 2
    assert marketo.waits == []
    client.get("rest/v1/campaigns.json")
    # Twenty seconds after the first of the last three, six of which have gone by; the log-in is none.
    assert marketo.waits == [14.0]


def test_attempts_that_are_repeated_count_as_calls(marketo: Marketo) -> None:
    now = [1_000.0]
    limits = SubscriptionLimits(3, 100, lambda: now[0])
    marketo.answers["rest/v1/campaigns.json"] = [refused("611"), refused("611"), told([])]
    client = marketo.client(limits)
    client.get("rest/v1/campaigns.json")
    assert limits.wait_seconds("rest/v1/campaigns.json") == 20.0


def test_the_days_share_ends_a_poll_and_comes_back_call_by_call(marketo: Marketo) -> None:
    now = [1_000.0]
    marketo.answers["rest/v1/campaigns.json"] = [told([])]
    client = marketo.client(SubscriptionLimits(100, 2, lambda: now[0]))
    client.get("rest/v1/campaigns.json")
    now[0] += 3_600
    client.get("rest/v1/campaigns.json")
    with pytest.raises(HandoffError) as error:
        client.get("rest/v1/campaigns.json")
    assert error.value.code == "QUOTA_EXHAUSTED"
    assert "HANDOFF_MARKETO_DAILY_CALLS" in error.value.remedy
    assert marketo.paths().count("rest/v1/campaigns.json") == 2
    now[0] += 86_400 - 3_600
    client.get("rest/v1/campaigns.json")
    with pytest.raises(HandoffError):
        client.get("rest/v1/campaigns.json")


def test_a_worker_passes_marketo_over_until_its_time_has_come(
    marketo: Marketo, extract: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_asked_at", {})
    now = [1_000.0]
    settings = Settings(home=tmp_path, marketo_url="https://x.example", marketo_poll_seconds=300.0)
    only_marketo = {name: None for name in Settings.model_fields if name.endswith("_url")}
    settings = settings.model_copy(update={**only_marketo, "marketo_url": "https://x.example"})
    for path in ("leads", "deletedleads", "activities"):
        marketo.answers[f"rest/v1/activities/{path}.json"] = [told([], moreResult=False)]
    marketo.answers["rest/v1/leads/describe.json"] = [refused("1003")]
    marketo.answers["rest/v1/activities/types.json"] = [told([])]
    marketo.answers["rest/v1/campaigns.json"] = [told([])]
    marketo.answers["rest/v1/activities.json"] = [told([], moreResult=False)]
    marketo.answers["rest/asset/v1/programs.json"] = [told([])]

    def asked() -> int:
        before = len(marketo.asked)
        assert list(polling.ask_systems(settings, lambda: now[0])) == ["marketo"]
        return len(marketo.asked) - before

    # A poll that failed is tried again at once.
    assert asked() > 0
    assert asked() > 0
    exporting(marketo, "id,updatedAt,email,unsubscribed\n")
    now[0] += 60
    assert asked() > 0
    now[0] += 299
    assert asked() == 0
    now[0] += 1
    assert asked() > 0


# ---- the log ------------------------------------------------------------------------------------


def test_an_empty_page_of_the_log_is_not_its_end(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    path = "rest/v1/activities.json"
    types = [{"id": 10, "name": "Open Email"}, {"id": 46, "name": "Interesting Moment"}]
    marketo.answers["rest/v1/activities/types.json"] = [told(types)]
    marketo.answers["rest/v1/campaigns.json"] = [
        told([{"id": 5, "programId": 50}, {"id": 6}], nextPageToken="MORE", moreResult=True),
        told([{"id": 8, "programId": 80}]),
    ]
    marketo.answers[path] = [
        told(nextPageToken="TWO", moreResult=True),
        told(
            [
                activity(2, 10, "2026-04-02T00:00:00+0000", campaignId=8),
                activity(1, 10, "2026-04-01T00:00:00Z", campaignId=6),
            ],
            nextPageToken="THREE",
            moreResult=False,
        ),
    ]
    [page] = extract("activities")
    assert [(row.record_id, row.payload["programId"]) for row in page] == [("1", None), ("2", 80)]
    assert page[0].payload["activityType"] == "Open Email"
    assert page[1].updated_at == datetime(2026, 4, 2, tzinfo=UTC)
    asked = marketo.queries(path)
    # Types that the subscription does not have, or that are nobody's doing, are not asked for.
    assert asked == [
        {"activityTypeIds": "10", "nextPageToken": "START"},
        {"activityTypeIds": "10", "nextPageToken": "TWO"},
    ]
    assert marketo.queries(PLACE) == [{"sinceDatetime": "2026-04-01T00:00:00Z"}]


def test_one_call_asks_for_no_more_types_than_marketo_takes() -> None:
    assert len(set(source.ACTIVITY_TYPES)) == 10


def test_a_deleted_lead_is_the_lead_and_not_the_activity(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    gone = activity(99, 37, "2026-04-03T04:05:06Z", leadId=7)
    marketo.answers["rest/v1/activities/deletedleads.json"] = [told([gone], moreResult=False)]
    [[row]] = extract("deleted_leads")
    assert (row.record_id, row.is_deleted, row.payload) == ("7", True, gone)


# ---- leads --------------------------------------------------------------------------------------


def test_a_changed_lead_is_as_old_as_the_change_that_was_told(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    marketo.answers["rest/v1/leads/describe.json"] = [
        told([
            {"rest": {"name": "id"}, "dataType": "integer"},
            {"rest": {"name": "email"}, "dataType": "email"},
            {"rest": {"name": "updatedAt"}, "dataType": "datetime"},
            {"rest": {"name": "Favourite_Colour__c"}, "dataType": "string"},
            {"soap": {"name": "Other"}, "dataType": "string"},
        ])
    ]  # fmt: skip
    changes = [
        activity(1, 13, "2026-04-01T10:00:00Z", leadId=8),
        activity(2, 12, "2026-04-01T10:01:00Z", leadId=7),
        activity(3, 13, "2026-04-01T10:02:00Z", leadId=9),
        activity(4, 13, "2026-04-01T10:03:00Z", leadId=8),
    ]
    marketo.answers["rest/v1/activities/leadchanges.json"] = [
        told(changes[:2], nextPageToken="TWO", moreResult=True),
        told(changes[2:], nextPageToken="THREE", moreResult=False),
    ]
    newer = {"id": 7, "email": "ann@x.example", "updatedAt": "2026-04-01T10:30:00Z"}
    marketo.answers["rest/v1/leads.json"] = [
        told([newer, {"id": 8, "email": None, "updatedAt": "2026-04-01T10:03:00Z"}])
    ]
    [page] = extract("leads")
    # Nine was deleted meanwhile. Seven is newer than its change: a lead that changed in between, after
    # the log was read, must still be asked for by the next poll.
    assert [(row.record_id, row.updated_at.minute) for row in page] == [("7", 1), ("8", 3)]
    assert page[0].payload == newer
    assert page[1].payload == {"id": 8, "updatedAt": "2026-04-01T10:03:00Z"}
    assert [query["fields"] for query in marketo.queries("rest/v1/activities/leadchanges.json")] == [
        "email", "email",
    ]  # fmt: skip
    assert marketo.queries("rest/v1/leads.json") == [
        {
            "filterType": "id", "filterValues": "7,9,8", "batchSize": "300",
            "fields": "id,updatedAt,email",
        }
    ]  # fmt: skip


def test_leads_are_asked_for_300_at_a_time(marketo: Marketo, extract: Callable[..., Any]) -> None:
    marketo.answers["rest/v1/leads/describe.json"] = [described(id="integer", email="email")]
    changes = [activity(n, 12, "2026-04-01T10:00:00Z", leadId=n) for n in range(1, 701)]
    marketo.answers["rest/v1/activities/leadchanges.json"] = [told(changes, moreResult=False)]
    marketo.answers["rest/v1/leads.json"] = [told([])]
    assert extract("leads") == []
    asked = marketo.queries("rest/v1/leads.json")
    assert [len(query["filterValues"].split(",")) for query in asked] == [300, 300, 100]


def file_of(text: str) -> tuple[httpx.Response, str]:
    content = text.encode()
    return httpx.Response(200, content=content), "sha256:" + hashlib.sha256(content).hexdigest()


def exporting(marketo: Marketo, text: str, *statuses: Answer, checksum: str | None = None) -> None:
    base = "bulk/v1/leads/export"
    response, its_checksum = file_of(text)
    done = {"status": "Completed", "numberOfRecords": 2, "fileChecksum": checksum or its_checksum}
    marketo.answers |= {
        "rest/v1/leads/describe.json": [
            described(id="integer", updatedAt="datetime", unsubscribed="boolean", email="email")
        ],
        f"{base}/create.json": [told([{"exportId": "e1", "status": "Created"}])],
        f"{base}/e1/enqueue.json": [told([{"exportId": "e1", "status": "Queued"}])],
        f"{base}/e1/status.json": [*(told([each]) for each in statuses), told([done])],
        f"{base}/e1/file.json": [response],
    }


LEADS = (
    "id,updatedAt,email,unsubscribed\n"
    '9,2026-03-02T00:00:00Z,"bob@x.example",true\n'
    "7,2026-03-01T00:00:00Z,null,false\n"
)


def test_the_first_poll_exports_spans_of_31_days_and_waits_for_each(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    exporting(marketo, LEADS, {"status": "Queued"}, {"status": "Processing"})
    [page] = extract("leads", None)
    # One of two files is enough to name a lead, and the later file says it last.
    assert [(row.record_id, row.payload) for row in page] == [
        ("7", {"id": 7, "updatedAt": "2026-03-01T00:00:00Z", "unsubscribed": False}),
        (
            "9",
            {
                "id": 9, "updatedAt": "2026-03-02T00:00:00Z", "email": "bob@x.example",
                "unsubscribed": True,
            },
        ),
    ]  # fmt: skip
    jobs = [
        json.loads(request.content)
        for request in marketo.asked
        if request.url.path.endswith("create.json")
    ]
    spans = [job["filter"]["createdAt"] for job in jobs]
    ends = [
        (datetime.fromisoformat(span["startAt"]), datetime.fromisoformat(span["endAt"]))
        for span in spans
    ]
    assert all(end - start <= timedelta(days=31) for start, end in ends)
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    days = marketo.settings.marketo_lookback_days
    assert ends[-1][1] - ends[0][0] == timedelta(days=days)
    assert jobs[0]["fields"] == ["id", "updatedAt", "email", "unsubscribed"]
    assert [wait for wait in marketo.waits if wait == 60.0] == [60.0, 60.0]


def test_no_exported_lead_seems_newer_than_the_beginning_of_the_export(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    exporting(marketo, "id,updatedAt,email,unsubscribed\n7,2999-01-01T00:00:00Z,null,null\n")
    before = datetime.now(UTC)
    [[row]] = extract("leads", None)
    assert before <= row.updated_at <= datetime.now(UTC)


def test_an_export_of_any_size_is_never_in_memory(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    marketo.settings = marketo.settings.model_copy(update={"marketo_lookback_days": 20})
    count, note = 20_000, "x" * 400
    rows = (
        f"{number},2026-03-{number % 28 + 1:02d}T00:00:00Z,{note}@x.example,true\n"
        for number in range(count)
    )
    exporting(marketo, "id,updatedAt,email,unsubscribed\n" + "".join(rows))
    size = len(marketo.answers["bulk/v1/leads/export/e1/file.json"][0].content)
    seen: list[tuple[datetime, int]] = []
    tracemalloc.start()
    for page in source.extract("leads", None, marketo.settings):
        seen += [(row.updated_at, int(row.record_id)) for row in page]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(seen) == count and seen == sorted(seen)
    # What is seen is kept by the test alone, some 200 bytes each.
    assert peak < size / 2 + count * 200, (peak, size)


@pytest.mark.parametrize(
    ("statuses", "checksum", "says"),
    [
        (({"status": "Failed"},), None, "export e1 is Failed"),
        ((), "sha256:0", "came as sha256:"),
    ],
)
def test_an_export_that_failed_or_broke_off_gives_nothing(
    marketo: Marketo,
    extract: Callable[..., Any],
    statuses: tuple[Answer, ...],
    checksum: str | None,
    says: str,
) -> None:
    exporting(marketo, LEADS, *statuses, checksum=checksum)
    with pytest.raises(HandoffError, match=says) as error:
        extract("leads", None)
    assert error.value.code == "UPSTREAM_UNAVAILABLE"


# ---- programs -----------------------------------------------------------------------------------


def test_programs_come_with_their_costs_oldest_change_first(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    rows = [
        {"id": 2, "name": "B", "updatedAt": "2026-04-03T00:00:00Z+0000"},
        {"id": 1, "name": "A", "updatedAt": "2026-04-02T00:00:00Z+0000"},
    ]
    marketo.answers["rest/asset/v1/programs.json"] = [told(rows, warnings=[])]
    costs = [{"startDate": "2026-01-01", "cost": 2000}]
    for row in rows:
        marketo.answers[f"rest/asset/v1/program/{row['id']}.json"] = [
            told([{**row, "costs": costs}])
        ]
    [page] = extract("programs")
    assert [(row.record_id, row.payload["costs"]) for row in page] == [("1", costs), ("2", costs)]
    [asked] = marketo.queries("rest/asset/v1/programs.json")
    assert asked == {
        "earliestUpdatedAt": "2026-04-01T00:00:00Z", "maxReturn": "200", "offset": "0",
    }  # fmt: skip


def test_no_program_found_is_an_answer_without_a_result(
    marketo: Marketo, extract: Callable[..., Any]
) -> None:
    none = told(warnings=["No assets found for the given search criteria."], errors=[])
    marketo.answers["rest/asset/v1/programs.json"] = [none]
    assert extract("programs") == []
