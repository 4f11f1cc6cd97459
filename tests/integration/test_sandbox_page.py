"""The sandbox's page: every form on it is taken, it shows what happened, and it needs no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from lxml import html

from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens, webhook_secrets
from ingestion.sandbox.faults import REQUEST_KINDS, WEBHOOK_KINDS
from ingestion.sandbox.personas import PERSONAS
from ingestion.sandbox.webhook_sender import Edge
from ingestion.sandbox.world import build_world
from tests.serving import served

ANCHOR = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BROWSER = {"accept": "text/html,application/xhtml+xml", "sec-fetch-site": "same-origin"}
HUBSPOT = {"authorization": f"Bearer {Tokens().hubspot_token}"}


@pytest.fixture(scope="module")
def running() -> Iterator[httpx.Client]:
    world = build_world(7, ANCHOR, people=40)
    # Nobody listens there: what is sent waits for its next attempt.
    edge = Edge("http://127.0.0.1:9", webhook_secrets(7))
    app = create_app(7, ANCHOR, world=world, edge=edge)
    with served(app) as url, httpx.Client(base_url=url, timeout=10, headers=BROWSER) as client:
        yield client


@pytest.fixture
def sandbox(running: httpx.Client) -> httpx.Client:
    assert running.post("/sandbox/reset").status_code == 303
    return running


def page(sandbox: httpx.Client, **filters: str) -> Any:
    answer = sandbox.get("/", params=filters)
    assert answer.status_code == 200
    return html.fromstring(answer.text)


def rows(tree: Any, part: str) -> list[str]:
    return [" ".join(row.itertext()) for row in tree.xpath(f'//*[@id="{part}"]//tbody/tr')]


def test_every_button_of_every_persona_does_what_it_says(sandbox: httpx.Client) -> None:
    forms = page(sandbox).xpath('//form[contains(@action, "/act")]')
    assert len(forms) == sum(len(each.acts) for each in PERSONAS)
    for form in forms:
        answer = sandbox.post(form.action, data=dict(form.form_values()))
        assert answer.status_code == 303, (form.action, dict(form.form_values()), answer.text[:200])
    told = sandbox.get("/sandbox/personas").json()["personas"]
    assert [row["act_count"] for row in told] == [len(each.acts) for each in PERSONAS]
    sent = len(rows(page(sandbox), "webhooks"))
    assert sent == sandbox.get("/sandbox/webhooks").json()["count"] > 6


@pytest.mark.parametrize("kind", [*REQUEST_KINDS, *WEBHOOK_KINDS])
def test_every_kind_of_fault_can_be_set_and_removed_by_the_forms(
    sandbox: httpx.Client, kind: str
) -> None:
    [form] = [
        form
        for form in page(sandbox).xpath('//form[@action="/sandbox/faults"]')
        if kind in form.inputs["kind"].value_options
    ]
    form.inputs["kind"].value = kind
    assert sandbox.post(form.action, data=dict(form.form_values())).status_code == 303
    tree = page(sandbox)
    [shown] = rows(tree, "faults")
    assert kind in shown and "1 times" in shown
    [remove] = tree.xpath('//form[contains(@action, "/remove")]')
    assert sandbox.post(remove.action).status_code == 303
    assert rows(page(sandbox), "faults") == []


def test_the_page_tells_what_was_received_and_by_which_fault_it_was_broken(
    sandbox: httpx.Client,
) -> None:
    sandbox.post("/sandbox/faults", json={"path_prefix": "/hubspot", "status": 429})
    for _ in range(2):
        sandbox.get("/hubspot/crm/owners/2026-03", headers=HUBSPOT)
    newest, oldest = rows(page(sandbox), "requests")
    assert "200" in newest and "9" in newest
    assert "429" in oldest and "status" in oldest
    assert rows(page(sandbox, fault="yes"), "requests") == [oldest]
    assert rows(page(sandbox, system="salesforce"), "requests") == []


def test_the_filters_show_one_persona_and_replay_takes_what_they_show(
    sandbox: httpx.Client,
) -> None:
    for name in ("buyer", "student"):
        sandbox.post(f"/sandbox/personas/{name}/act", json={"action": "submit_form"})
    tree = page(sandbox, persona="student")
    [shown] = rows(tree, "webhooks")
    assert "student" in shown and "form.submitted" in shown
    whole = tree.xpath('//*[@id="webhooks"]//form')[0]
    answer = sandbox.post(whole.action, data=dict(whole.form_values()))
    assert answer.status_code == 303
    assert "1+webhook+queued" in answer.headers["location"]


def test_the_part_that_refreshes_is_the_part_of_the_page(sandbox: httpx.Client) -> None:
    sandbox.get("/hubspot/crm/owners/2026-03", headers=HUBSPOT)
    part = sandbox.get("/sandbox/live", params={"system": "hubspot"})
    whole = page(sandbox, system="hubspot").get_element_by_id("live")
    fresh = html.fragment_fromstring(part.text, create_parent="div")
    assert rows(fresh, "requests") == rows(whole, "requests") != []


def test_what_callers_send_is_shown_as_text(sandbox: httpx.Client) -> None:
    nasty = "<script>alert(1)</script>"
    sandbox.get(f"/hubspot/{nasty}", params={"q": nasty}, headers=HUBSPOT)
    for text in (
        sandbox.get("/", params={"said": nasty, "persona": nasty}).text,
        sandbox.get("/").text,
    ):
        assert "alert(1)" in text
        assert nasty not in text


def test_nothing_on_the_page_comes_from_another_host(sandbox: httpx.Client) -> None:
    text = sandbox.get("/").text
    own = str(sandbox.base_url)
    foreign = {url for url in re.findall(r"https?://[^\s'\"<>]+", text) if not url.startswith(own)}
    # The edge is named, not loaded.
    assert foreign == {"http://127.0.0.1:9"}
    tree = html.fromstring(text)
    loaded = tree.xpath("//@src | //link/@href")
    assert loaded == ["data:,"]


def test_every_field_has_a_name_that_can_be_read_out(sandbox: httpx.Client) -> None:
    tree = page(sandbox)
    assert tree.get("lang") == "en"
    for field in tree.xpath('//select | //input[not(@type="hidden")]'):
        in_label = field.xpath("ancestor::label")
        assert in_label or field.get("aria-label"), html.tostring(field)[:120]
    assert tree.xpath('//meta[@name="viewport"]')


def test_the_variables_to_copy_are_those_of_this_sandbox(sandbox: httpx.Client) -> None:
    variables = page(sandbox).get_element_by_id("variables").text_content()
    assert f"export HANDOFF_HUBSPOT_URL='{str(sandbox.base_url).rstrip('/')}/hubspot'" in variables
    assert "HANDOFF_WEBHOOK_SECRETS_WEB='whsec_" in variables
