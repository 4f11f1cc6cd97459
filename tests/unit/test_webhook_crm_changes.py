"""What Salesforce's and Marketo's deliveries mean, and that their XML can do no harm."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.connectors.marketo import webhook as marketo
from ingestion.connectors.safe_xml import read_xml
from ingestion.connectors.salesforce import webhook as salesforce
from ingestion.connectors.signed_request import SignedRequest
from ingestion.contracts.registry import validate_event
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
ORGANIZATION = "00D5g00000ABCdEEAX"
LEAD = """
<sObject xsi:type="sf:Lead" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
  <sf:Id>00Q5g00000A1b2CMAR</sf:Id><sf:Email>ada@example.com</sf:Email>
  <sf:Company>Keller &amp; Söhne</sf:Company><sf:Phone xsi:nil="true"/>
  <sf:CountryCode>DE</sf:CountryCode><sf:Status>Working - Contacted</sf:Status>
  <sf:Rating__c>hot</sf:Rating__c><sf:SystemModstamp>2026-04-01T11:59:58.000Z</sf:SystemModstamp>
</sObject>"""


def message(*records: str, organization: str = ORGANIZATION, session: str = "S3SS!ON") -> bytes:
    notified = "".join(
        f"<Notification><Id>04l5g00000AAA{at}EEA1</Id>{record}</Notification>"
        for at, record in enumerate(records)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
<notifications xmlns="http://soap.sforce.com/2005/09/outbound">
<OrganizationId>{organization}</OrganizationId><ActionId>04k5g00000AAAAAEA2</ActionId>
<SessionId>{session}</SessionId><EnterpriseUrl>https://x</EnterpriseUrl>{notified}
</notifications></soapenv:Body></soapenv:Envelope>""".encode()


def translated(module: Any, raw: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = module.to_events(raw, NOW)
    for event in events:
        assert validate_event(event, {module.SYSTEM}) == [], event
    assert module.to_events(raw, NOW) == events
    return events


def refused(module: Any, body: Any) -> tuple[str, str | None]:
    with pytest.raises(HandoffError) as raised:
        module.to_events(json.dumps(body).encode(), NOW)
    return raised.value.code, raised.value.path


# -- Salesforce's outbound messages ----------------------------------------------------------


def test_a_notified_lead_is_a_contact() -> None:
    (raw,) = salesforce.notifications(message(LEAD))
    (event,) = translated(salesforce, raw)
    assert event["subject"] == "contact/salesforce/00Q5g00000A1b2CMAR"
    assert event["time"] == "2026-04-01T11:59:58.000Z"
    assert event["data"] == {
        "system": "salesforce",
        "record_id": "00Q5g00000A1b2CMAR",
        "email": "ada@example.com",
        "company": "Keller & Söhne",
        "phone": None,
        "country": "DE",
        "lifecycle_stage": "accepted",
        "custom": {"Rating__c": "hot"},
    }


def test_the_session_of_an_outbound_message_goes_nowhere() -> None:
    assert all(b"S3SS!ON" not in raw for raw in salesforce.notifications(message(LEAD, LEAD)))


def test_a_message_sent_again_is_the_same_event_and_one_sent_late_with_news_is_another() -> None:
    first, again = (salesforce.notifications(message(LEAD)) for _ in range(2))
    late = salesforce.notifications(message(LEAD.replace("hot", "cold")))
    ids = [translated(salesforce, raw)[0]["id"] for (raw,) in (first, again, late)]
    assert ids[0] == ids[1] != ids[2]


def test_a_closed_opportunity_says_when_and_an_open_one_does_not() -> None:
    def opportunity(closed: str, won: str) -> Any:
        record = (
            '<sObject xsi:type="sf:Opportunity"><sf:Id>0065g00000Q1w2EIAR</sf:Id>'
            "<sf:StageName>Closed Won</sf:StageName><sf:Amount>48000.5</sf:Amount>"
            f"<sf:IsClosed>{closed}</sf:IsClosed><sf:IsWon>{won}</sf:IsWon>"
            "<sf:CloseDate>2026-05-20</sf:CloseDate>"
            "<sf:LastModifiedDate>2026-04-01T10:00:00.000Z</sf:LastModifiedDate></sObject>"
        )
        (raw,) = salesforce.notifications(message(record))
        return translated(salesforce, raw)[0]["data"]

    closed, still_open = opportunity("true", "true"), opportunity("false", "false")
    assert (closed["amount_usd"], closed["is_won"]) == (48000.5, True)
    assert closed["closed_at"] == "2026-05-20T00:00:00Z"
    assert (still_open["closed_at"], still_open["is_won"]) == (None, None)
    assert still_open["custom"]["CloseDate"] == "2026-05-20"


def test_an_account_has_a_domain_and_numbers() -> None:
    record = (
        '<sObject xsi:type="sf:Account"><sf:Id>0015g00000XyZ12IAF</sf:Id><sf:Name>Keller</sf:Name>'
        "<sf:Website>https://www.keller.example/de</sf:Website>"
        "<sf:NumberOfEmployees>240</sf:NumberOfEmployees>"
        "<sf:AnnualRevenue>much</sf:AnnualRevenue>"
        "<sf:SystemModstamp>2026-04-01T10:00:00Z</sf:SystemModstamp></sObject>"
    )
    (raw,) = salesforce.notifications(message(record))
    data = translated(salesforce, raw)[0]["data"]
    assert (data["name"], data["domain"], data["employee_count"]) == (
        "Keller",
        "keller.example",
        240,
    )
    assert data["custom"] == {"AnnualRevenue": "much"}


def test_a_finished_task_is_an_activity_and_an_open_one_is_none() -> None:
    def task(status: str) -> bytes:
        record = (
            '<sObject xsi:type="sf:Task"><sf:Id>00T5g00000Task1EAA</sf:Id>'
            f"<sf:WhoId>00Q5g00000A1b2CMAR</sf:WhoId><sf:Status>{status}</sf:Status>"
            "<sf:TaskSubtype>Call</sf:TaskSubtype>"
            "<sf:SystemModstamp>2026-04-01T10:00:00Z</sf:SystemModstamp></sObject>"
        )
        (raw,) = salesforce.notifications(message(record))
        return raw

    (event,) = translated(salesforce, task("Completed"))
    assert event["data"]["activity_type"] == "call"
    assert event["data"]["contact_id"] == "00Q5g00000A1b2CMAR"
    with pytest.raises(HandoffError, match="not closed"):
        salesforce.to_events(task("Not Started"), NOW)


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (LEAD.replace("sf:SystemModstamp", "sf:Other"), "/sObject/SystemModstamp"),
        (LEAD.replace("sf:Lead", "sf:Case"), "/sObject/type"),
        (LEAD.replace("sf:Id", "sf:Number"), "/sObject/Id"),
        ("", "/sObject"),
    ],
)
def test_a_notification_that_says_too_little_is_refused_by_path(record: str, path: str) -> None:
    (raw,) = salesforce.notifications(message(record))
    with pytest.raises(HandoffError) as raised:
        salesforce.to_events(raw, NOW)
    assert raised.value.path == path


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<Envelope/>",
        b"<a/>",
        message(),
        message(LEAD.replace("sf:Company", "sf:Email")),
        message(LEAD)[:-20],
    ],
)
def test_a_body_that_is_no_outbound_message_is_refused(body: bytes) -> None:
    with pytest.raises(HandoffError) as raised:
        salesforce.notifications(body)
    assert raised.value.code in ("SCHEMA_INVALID", "DUPLICATE_KEY")
    assert raised.value.path is not None


def asked(
    body: bytes, content_type: str = "text/xml; charset=UTF-8", secret: str = "known"
) -> SignedRequest:
    url = f"https://in.example.com/webhooks/salesforce?secret={secret}"
    return SignedRequest("POST", url, {"content-type": content_type}, body)


def verdict(request: SignedRequest, organizations: str = ORGANIZATION) -> str | None:
    settings = Settings(salesforce_organization_ids=organizations)
    try:
        salesforce.verifier(settings)(request, ["old", "known"], NOW)
    except HandoffError as error:
        return error.code
    return None


def test_an_outbound_message_needs_the_secret_and_an_organization_of_ours() -> None:
    assert verdict(asked(message(LEAD))) is None
    assert verdict(asked(message(LEAD)), ORGANIZATION[:15]) is None
    assert verdict(asked(message(LEAD)), f"00DOther,{ORGANIZATION}") is None
    assert verdict(asked(message(LEAD), secret="guess")) == "SIGNATURE_INVALID"
    assert verdict(asked(message(LEAD)), "") == "SIGNATURE_INVALID"
    assert verdict(asked(message(LEAD)), "00DOther") == "SIGNATURE_INVALID"
    # An id's first 15 characters differ by case alone between two organizations.
    assert verdict(asked(message(LEAD, organization=ORGANIZATION.lower()))) == "SIGNATURE_INVALID"
    assert verdict(asked(message(LEAD, organization=""))) == "SIGNATURE_INVALID"


def test_a_notification_sent_as_json_does_not_go_round_the_organization() -> None:
    (raw,) = salesforce.notifications(message(LEAD))
    escaped = raw.replace(b'"NotificationId"', b'"\\u004eotificationId"')
    for body in (raw, b"[" + raw + b"]", escaped):
        assert verdict(asked(body, "application/json")) == "SIGNATURE_INVALID"
    assert verdict(asked(json.dumps(change()).encode(), "application/json")) is None
    assert verdict(asked(b"{not json", "application/json")) is None


# -- XML -------------------------------------------------------------------------------------

BOMB = b"""<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>"""


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<!DOCTYPE a><a/>",
        b"<?xml-stylesheet href='x'?><a/>",
        b"<a>&undefined;</a>",
        "<a/>".encode("utf-16"),
        b"<a>" * 40 + b"</a>" * 40,
        b"<a></b>",
    ],
)
def test_xml_that_could_do_more_than_say_something_is_refused(body: bytes) -> None:
    with pytest.raises(HandoffError) as raised:
        read_xml(body)
    assert raised.value.code == "SCHEMA_INVALID"


def test_a_megabyte_of_references_is_read_in_time() -> None:
    started = time.perf_counter()
    assert len(read_xml(b"<a>" + b"&amp;" * 200_000 + b"</a>").text) == 200_000
    assert len(read_xml(b"<a>" + b"&amp;<!-- -->" * 80_000 + b"</a>").text) == 80_000
    assert time.perf_counter() - started < 10


# -- Salesforce's change events --------------------------------------------------------------


def change(kind: str = "Lead", what: str = "UPDATE", **fields: Any) -> dict[str, Any]:
    header = {
        "entityName": kind,
        "recordIds": ["00Q5g00000A1b2CMAR"],
        "changeType": what,
        "transactionKey": "000baf1c-4b1b-6a2d-7c3e-1f2a3b4c5d6e",
        "sequenceNumber": 1,
        "commitTimestamp": 1775044800125,
        "commitUser": "0055g0000000abc",
    } | fields.pop("header", {})
    return {"ChangeEventHeader": header} | fields


def changed(body: Any) -> list[dict[str, Any]]:
    return translated(salesforce, json.dumps(body).encode())


def test_a_change_event_says_what_changed_of_every_record_it_names() -> None:
    body = change(
        Name={"FirstName": "Ada", "LastName": None},
        Address={"City": "Berlin", "CountryCode": "DE"},
        Status="Qualified",
        LastModifiedDate="2026-04-01T12:00:00Z",
        header={"recordIds": ["00Q1", "00Q2"]},
    )
    first, second = changed(body)
    assert first["time"] == "2026-04-01T12:00:00.125Z"
    assert first["data"] == {
        "system": "salesforce",
        "record_id": "00Q1",
        "first_name": "Ada",
        "last_name": None,
        "city": "Berlin",
        "country": "DE",
        "lifecycle_stage": "sql",
    }
    assert second["subject"] == "contact/salesforce/00Q2"
    assert first["id"] != second["id"]


def test_by_way_of_avro_null_is_unchanged_unless_it_is_listed() -> None:
    body = change(
        "Account",
        Name="Keller",
        Phone=None,
        Website=None,
        BillingAddress={"State": None, "City": None},
        header={"nulledFields": ["Website", "BillingAddress.State"]},
    )
    (event,) = changed(body)
    assert event["data"] == {
        "system": "salesforce",
        "record_id": "00Q5g00000A1b2CMAR",
        "name": "Keller",
        "domain": None,
        "region": None,
    }


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("DELETE", {"is_deleted": True}),
        ("GAP_DELETE", {"is_deleted": True}),
        ("UNDELETE", {"email": "a@b.example", "is_deleted": False}),
        ("GAP_UNDELETE", {"is_deleted": False}),
        ("CREATE", {"email": "a@b.example"}),
        # A gap event says that something changed, and not what: the next poll does.
        ("GAP_UPDATE", {}),
        ("GAP_CREATE", {}),
    ],
)
def test_each_kind_of_change_says_no_more_than_it_knows(what: str, data: dict[str, Any]) -> None:
    (event,) = changed(change(what=what, Email="a@b.example"))
    assert event["data"] == {"system": "salesforce", "record_id": "00Q5g00000A1b2CMAR"} | data


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: {"schema": "x", "payload": body, "event": {"replayId": 6}},
        lambda body: {"channel": "/data/LeadChangeEvent", "data": {"payload": body}},
        lambda body: {"detail": {"payload": body, "replayId": 6}, "detail-type": "x"},
    ],
)
def test_a_relay_may_wrap_a_change_event(wrap: Any) -> None:
    body = change(Email="a@b.example")
    assert changed(wrap(body)) == changed(body)


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (change("Case"), "SCHEMA_UNKNOWN", "/ChangeEventHeader/entityName"),
        (change(what="SNAPSHOT"), "SCHEMA_UNKNOWN", "/ChangeEventHeader/changeType"),
        (change(what="GAP_OVERFLOW"), "SCHEMA_INVALID", "/ChangeEventHeader/changeType"),
        (
            change(header={"recordIds": ["001*"]}),
            "SCHEMA_INVALID",
            "/ChangeEventHeader/recordIds/0",
        ),
        (change(header={"recordIds": []}), "SCHEMA_INVALID", "/ChangeEventHeader/recordIds"),
        (
            change(header={"nulledFields": ["0x400000"]}),
            "FIELD_MISMATCH",
            "/ChangeEventHeader/nulledFields/0",
        ),
        (
            change(header={"commitTimestamp": "x"}),
            "SCHEMA_INVALID",
            "/ChangeEventHeader/commitTimestamp",
        ),
        (change("Task", "DELETE"), "SCHEMA_UNKNOWN", "/ChangeEventHeader/changeType"),
        (change("Task", Status="Completed"), "SCHEMA_INVALID", "/WhoId"),
        ({"payload": {}}, "SCHEMA_INVALID", "/payload/ChangeEventHeader"),
    ],
)
def test_a_change_event_that_says_too_little_is_refused_by_path(
    body: Any, code: str, path: str
) -> None:
    assert refused(salesforce, body) == (code, path)


# -- Marketo ---------------------------------------------------------------------------------


def delivery(event: str = "lead.updated", **changes: Any) -> dict[str, Any]:
    return {
        "event": event,
        "munchkin_id": "123-ABC-456",
        "occurred_at": "2026-04-01 14:00:00",
        "time_zone": "Europe/Berlin",
        "lead": {
            "id": 318592,
            "email": "ada@example.com",
            "firstName": "Ada",
            "phone": "",
            "country": "Germany",
            "leadStatus": "MQL",
            "unsubscribed": "0",
            "favouritePlan": "team",
        },
    } | changes


def from_marketo(body: Any) -> list[dict[str, Any]]:
    return translated(marketo, json.dumps(body).encode())


def test_a_marketo_lead_is_a_contact() -> None:
    (event,) = from_marketo(delivery())
    assert event["time"] == "2026-04-01T14:00:00+02:00"
    assert event["data"] == {
        "system": "marketo",
        "record_id": "318592",
        "email": "ada@example.com",
        "first_name": "Ada",
        "phone": None,
        "lifecycle_stage": "mql",
        "custom": {"country": "Germany", "favouritePlan": "team"},
    }


def test_a_marketo_lead_that_unsubscribed_has_withdrawn_its_consent() -> None:
    lead = delivery()["lead"] | {"unsubscribed": "1"}
    _, consent = from_marketo(delivery(lead=lead))
    assert consent["data"]["status"] == "withdrawn"
    assert consent["data"]["contact_id"] == "318592"
    assert refused(marketo, delivery(lead=lead | {"unsubscribed": "maybe"})) == (
        "FIELD_MISMATCH",
        "/lead/unsubscribed",
    )


def test_a_marketo_activity_names_its_lead() -> None:
    body = delivery("activity", activity_type="Fill Out Form", form_id="1029", url="")
    (event,) = from_marketo(body)
    data = event["data"]
    assert (data["activity_type"], data["contact_id"]) == ("form_submit", "318592")
    assert data["form_id"] == "1029"
    (again,) = from_marketo(body)
    assert data["activity_id"] == again["data"]["activity_id"]
    assert refused(marketo, body | {"activity_type": "Fall"}) == ("ENUM_UNKNOWN", "/activity_type")


def test_a_deleted_marketo_lead_is_deleted() -> None:
    (event,) = from_marketo(delivery("lead.deleted", lead={"id": "7"}))
    assert event["data"] == {"system": "marketo", "record_id": "7", "is_deleted": True}


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"event": "lead.seen"}, "SCHEMA_UNKNOWN", "/event"),
        ({"time_zone": ""}, "SCHEMA_INVALID", "/time_zone"),
        ({"time_zone": "Berlin"}, "FIELD_MISMATCH", "/occurred_at"),
        ({"time_zone": "../../etc/passwd"}, "FIELD_MISMATCH", "/occurred_at"),
        ({"occurred_at": "2026-04-01"}, "FIELD_MISMATCH", "/occurred_at"),
        ({"occurred_at": None}, "SCHEMA_INVALID", "/occurred_at"),
        ({"munchkin_id": ""}, "SCHEMA_INVALID", "/munchkin_id"),
        ({"lead": {}}, "SCHEMA_INVALID", "/lead/id"),
    ],
)
def test_a_marketo_delivery_that_says_too_little_is_refused_by_path(
    changes: dict[str, Any], code: str, path: str
) -> None:
    assert refused(marketo, delivery(**changes)) == (code, path)
