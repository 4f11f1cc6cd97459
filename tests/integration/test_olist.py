"""The Olist tutorial end to end, against the same numbers taken straight from its two files."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingestion.landing.files import ingest
from orchestration.serving import open_serving, publish

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "olist" / "README.md"
LEADS = "olist_marketing_qualified_leads_dataset.csv"
DEALS = "olist_closed_deals_dataset.csv"
# What the tutorial tells to type, word by word: its verbs and arguments.
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```\n(.+?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.M | re.S)
    for line in block.splitlines()
]
STEPS = [(words[1], ROOT / words[3]) for words in COMMANDS if words[0] == "ingest"]
AS_OF = datetime(2019, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Funnel:
    """The warehouse the tutorial makes, and what each ingest of it said."""

    warehouse: Any
    folder: Path
    accepted: list[int]
    seconds: float


@pytest.fixture(scope="module")
def funnel(open_warehouse: Callable[..., Any], shared_data: Path) -> Funnel:
    folder = shared_data / "olist_funnel"
    if not folder.is_dir():
        pytest.skip(f"the Olist files are not at {folder}")
    warehouse = open_warehouse()
    started = time.monotonic()
    reports = [
        ingest(warehouse.settings, [folder / file], mapping=mapping) for file, mapping in STEPS
    ]
    assert [report.exit_code for report in reports] == [0, 0, 0]
    warehouse.transform(AS_OF)
    seconds = time.monotonic() - started
    return Funnel(warehouse, folder, [report.accepted for report in reports], seconds)


def test_every_lead_rep_and_deal_is_taken_once(funnel: Funnel) -> None:
    deals = pd.read_csv(funnel.folder / DEALS)
    assert funnel.accepted == [8_000, deals["sr_id"].nunique(), 842]
    again = [
        ingest(funnel.warehouse.settings, [funnel.folder / file], mapping=mapping)
        for file, mapping in STEPS
    ]
    assert [report.accepted for report in again] == [0, 0, 0]
    assert [report.duplicate for report in again] == [8_000, 842, 842]


def test_the_queries_of_the_tutorial_answer_what_it_says(funnel: Funnel) -> None:
    verbs = [words[0] for words in COMMANDS]
    assert verbs == ["ingest", "ingest", "ingest", "run", "query", "query"]
    publish(funnel.warehouse.settings)
    with contextlib.closing(open_serving(funnel.warehouse.settings)) as published:
        answers = [
            published.execute(words[1]).fetchall() for words in COMMANDS if words[0] == "query"
        ]
    assert answers == [[(8_000,)], [(842, 22)]]


def test_every_lead_is_a_person(funnel: Funnel) -> None:
    assert funnel.warehouse.rows("select count(*) from marts.dim_people") == [(8_000,)]


def test_every_won_deal_has_its_person_and_its_rep(funnel: Funnel) -> None:
    deals = pd.read_csv(funnel.folder / DEALS)
    found = funnel.warehouse.rows(
        "select records.record_id, reps.source_records from marts.fct_opportunities "
        "inner join (select * from marts.entity_map where is_current) as records using (person_id) "
        "inner join marts.dim_reps as reps on fct_opportunities.rep_id = reps.rep_id where is_won"
    )
    assert len(found) == 842
    assert dict(found) == {
        deal.mql_id: f'["olist:{deal.sr_id}"]' for deal in deals.itertuples(index=False)
    }


def test_the_win_rate_of_each_source_is_that_of_the_files(funnel: Funnel) -> None:
    leads = pd.read_csv(funnel.folder / LEADS)
    deals = pd.read_csv(funnel.folder / DEALS)
    leads["is_won"] = leads["mql_id"].isin(deals["mql_id"])
    leads["source"] = leads["origin"].fillna("")
    expected = {
        source: (len(group), int(group["is_won"].sum()))
        for source, group in leads.groupby("source")
    }
    found = funnel.warehouse.rows(
        "select coalesce(original_source, ''), count(*), count(*) filter (where person_id in "
        "(select person_id from marts.fct_opportunities where is_won)) "
        "from marts.dim_people group by all"
    )
    assert {source: (people, won) for source, people, won in found} == expected


def test_each_attribution_model_gives_away_every_won_deal_once(funnel: Funnel) -> None:
    found = funnel.warehouse.rows(
        "select attribution_model, sum(credit_weight), count(distinct opportunity_id) "
        "from marts.fct_attribution where is_won group by all"
    )
    assert {model for model, _, _ in found} == {"first", "last", "linear", "u_shaped"}
    for _, credit, opportunities in found:
        assert (credit, opportunities) == (pytest.approx(842), 842)


def test_a_first_touch_is_credited_to_the_source_of_the_lead(funnel: Funnel) -> None:
    """A lead without a source, or first seen after the deal was won, gives its deal to nobody. What a
    marketing tool calls direct traffic is the channel `direct`."""
    leads = pd.read_csv(funnel.folder / LEADS)
    deals = pd.read_csv(funnel.folder / DEALS).merge(leads, on="mql_id")
    met = pd.to_datetime(deals["first_contact_date"], format="%d-%m-%Y")
    won = pd.to_datetime(deals["won_date"], format="%d-%m-%Y %H:%M")
    origin = deals["origin"].replace("direct_traffic", "direct")
    channel = origin.where(met <= won).fillna("unattributed")
    found = funnel.warehouse.rows(
        "select channel, sum(credit_weight) from marts.fct_attribution "
        "where attribution_model = 'first' and is_won group by all"
    )
    assert dict(found) == pytest.approx(channel.value_counts().to_dict())
