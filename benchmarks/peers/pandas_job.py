"""The job in pandas, as somebody who knows it would write it: vectorised, Arrow strings, scipy for the graph."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.job import (
    ORGANIC_SOCIAL,
    PAID_SEARCH,
    PAID_SOCIAL,
    SEARCH,
    SOCIAL,
    Job,
    Outcome,
    components,
)

CONTACT_FIELDS = [
    "email", "phone", "country", "region", "company", "job_title", "external_ids", "original_source",
    "latest_source",
]  # fmt: skip
READ = {
    "activities": [
        "seq", "system", "activity_id", "activity_type", "contact_id", "email", "anonymous_id", "url", "referrer",
        "utm_medium", "campaign_id", "form_id", "occurred_at", "received_at",
    ],
    "contacts": ["seq", "system", "record_id", *CONTACT_FIELDS, "occurred_at", "received_at"],
    "consents": ["system", "contact_id", "email", "received_at"],
    "meetings": ["system", "contact_id", "received_at"],
    "stage_changes": ["system", "contact_id", "received_at"],
    "merges": ["system", "surviving_id", "merged_ids", "received_at"],
    "accounts": ["seq", "domain", "industry", "employee_count", "annual_revenue_usd", "occurred_at"],
    "campaigns": ["seq", "record_id", "channel"],
    "opportunities": [
        "seq", "record_id", "system", "contact_ids", "amount_usd", "closed_at", "is_won", "occurred_at", "received_at",
    ],
}  # fmt: skip
DAY = 86_400e6


def run(raw: Path, out: Path, job: Job) -> Outcome:
    """Do the job on the Parquet files of `raw`, one folder a table; what came out is kept in `out`."""
    warnings.filterwarnings("ignore", "This pattern is interpreted as a regular expression")
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - started

    with timed("reading"):
        tables = {
            table: pd.read_parquet(raw / table, columns=columns) for table, columns in READ.items()
        }
    with timed("activities"):
        activities = (
            tables.pop("activities")
            .sort_values("seq")
            .drop_duplicates(["system", "activity_id"], keep="last")
        )
    with timed("identity"):
        contacts = _newest(tables["contacts"], ["system", "record_id"], CONTACT_FIELDS)
        anonymous = activities[activities["contact_id"].isna() & activities["email"].isna()]
        records, activities = _records(tables, contacts, activities)
        count, person = components(len(records), *_links(records, tables["merges"], job))
        records["person"] = person
    with timed("people"):
        people = _people(records, tables["accounts"], job)
        activities["person"] = person[activities["record"].to_numpy()]
        activities["at"] = _microseconds(activities["occurred_at"])
        activities = pd.concat([activities, _visits(anonymous, activities, job)], ignore_index=True)
    with timed("scores"):
        ledger = _ledger(activities, people, job)
        scores = _scores(ledger, job)
    with timed("MQLs"):
        mql_people = _mqls(ledger, job)
    with timed("attribution"):
        touchpoints = _touchpoints(activities, people, tables["campaigns"], job)
        revenue = _attribution(tables["opportunities"], touchpoints, records, job)
    with timed("writing"):
        for name, frame in (
            ("records", records),
            ("people", people),
            ("activities", activities),
            ("ledger", ledger),
            ("scores", scores.to_frame()),
            ("touchpoints", touchpoints),
        ):
            frame.to_parquet(out / f"{name}.parquet")
    return Outcome(count, len(activities), np.sort(scores.to_numpy()), mql_people, revenue, seconds)


def _visits(anonymous: pd.DataFrame, activities: pd.DataFrame, job: Job) -> pd.DataFrame:
    """Visits of browsers that were seen with one person only, from so many days before the first
    time until as many after the last."""
    seen = activities[activities["anonymous_id"].notna()]
    browsers = (
        seen.assign(browser=seen["system"] + ":" + seen["anonymous_id"])
        .groupby("browser")
        .agg(
            person=("person", "min"),
            other=("person", "max"),
            first_at=("at", "min"),
            last_at=("at", "max"),
        )
    )
    browsers = browsers[browsers["person"] == browsers["other"]].drop(columns="other")
    visits = anonymous.assign(
        browser=anonymous["system"] + ":" + anonymous["anonymous_id"],
        at=_microseconds(anonymous["occurred_at"]),
    ).merge(browsers, left_on="browser", right_index=True)
    days = job.browser_days * DAY
    is_known = (visits["at"] >= visits["first_at"] - days) & (
        visits["at"] < visits["last_at"] + days
    )
    return visits[is_known].drop(columns=["browser", "first_at", "last_at"])


def _microseconds(instants: pd.Series[Any]) -> Any:
    return instants.dt.as_unit("us").astype("int64").to_numpy()


def _newest(rows: pd.DataFrame, key: list[str], fields: list[str]) -> pd.DataFrame:
    """Records as they stand: a field not sent is unchanged."""
    grouped = rows.sort_values(["occurred_at", "received_at", "seq"]).groupby(key, sort=False)
    newest = grouped[fields].last()
    newest["occurred_at"] = grouped["occurred_at"].max()
    newest["created_at"] = grouped["occurred_at"].min()
    return newest.reset_index()


def _records(
    tables: dict[str, pd.DataFrame], contacts: pd.DataFrame, activities: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every record anything names, with what is known of it; and the activities that name one."""
    activities = activities[activities["contact_id"].notna() | activities["email"].notna()].copy()
    activities["key"] = _record_key(activities)
    consents = tables["consents"]
    opportunities, merges = tables["opportunities"], tables["merges"]
    deals = opportunities.loc[opportunities["contact_ids"].notna()]
    named = deals.assign(contact_id=deals["contact_ids"].map(json.loads)).explode("contact_id")
    merged = merges.assign(contact_id=merges["merged_ids"].map(json.loads)).explode("contact_id")
    surviving = merges.rename(columns={"surviving_id": "contact_id"})
    mentions = pd.concat(
        [
            activities[["key", "system", "received_at"]],
            tables["contacts"].assign(key=_contact_key(tables["contacts"], "record_id"))[
                ["key", "system", "received_at"]
            ],
            consents.assign(key=_record_key(consents))[["key", "system", "received_at"]],
            *(
                rows.assign(key=_contact_key(rows, "contact_id"))[["key", "system", "received_at"]]
                for rows in (
                    tables["meetings"],
                    tables["stage_changes"],
                    named,
                    merged,
                    surviving,
                )
            ),
        ],
        ignore_index=True,
    )
    numbers, keys = pd.factorize(mentions["key"])
    mentions["record"] = numbers
    records = mentions.groupby("record").agg(
        system=("system", "first"), first_received_at=("received_at", "min")
    )
    records["key"] = keys
    known = contacts.assign(key=_contact_key(contacts, "record_id")).drop(columns="system")
    records = records.merge(known, on="key", how="left").reset_index(drop=True)
    is_address = records["key"].str.contains(":email:", regex=False)
    records["typed"] = records["key"].str.split(":email:", n=1).str[1].where(is_address)
    # Activities were put first, so theirs are the first numbers.
    activities["record"] = numbers[: len(activities)]
    return records, activities


def _contact_key(rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    return rows["system"] + ":" + rows[column]


def _record_key(rows: pd.DataFrame) -> pd.Series[Any]:
    by_contact = _contact_key(rows, "contact_id")
    return by_contact.fillna(rows["system"] + ":email:" + rows["email"].str.strip().str.lower())


def _links(records: pd.DataFrame, merges: pd.DataFrame, job: Job) -> tuple[Any, Any]:
    """Pairs of records that carry the same identifier."""
    record = pd.Series(np.arange(len(records)))
    by_key = pd.Series(np.arange(len(records)), index=records["key"])
    email = records["email"].fillna(records["typed"]).str.strip().str.lower()
    email = email.where(~email.str.split("@", n=1).str[0].isin(job.shared_mailboxes))
    phone = records["phone"].str.replace(r"[^+0-9]", "", regex=True)
    stated = records["external_ids"].dropna().map(json.loads).explode()
    named = stated.map(lambda one: f"{one['system']}:{one['record_id']}")
    merged = merges.assign(merged=merges["merged_ids"].map(json.loads)).explode("merged")
    carried = pd.concat(
        [
            _identifiers("email", record, email, job),
            _identifiers("phone", record, phone, job),
            _identifiers("external_id", record[records["typed"].isna()], records["key"], job),
            _identifiers("external_id", pd.Series(named.index, index=named.index), named, job),
            _identifiers(
                "external_id",
                by_key.reindex(merged["system"] + ":" + merged["surviving_id"]).reset_index(
                    drop=True
                ),
                (merged["system"] + ":" + merged["merged"]).reset_index(drop=True),
                job,
            ),
        ],
        ignore_index=True,
    ).drop_duplicates()
    grouped = carried.groupby(["kind", "value"], sort=False)["record"]
    carried["first"] = grouped.transform("min")
    carried["count"] = grouped.transform("size")
    linking = carried[carried["count"] <= carried["kind"].map(job.max_records)]
    return linking["record"].to_numpy(), linking["first"].to_numpy()


def _identifiers(
    kind: str, record: pd.Series[Any], value: pd.Series[Any], job: Job
) -> pd.DataFrame:
    found = pd.DataFrame({"kind": kind, "record": record, "value": value}).dropna()
    found = found.reset_index(drop=True).astype({"record": "int64"})
    # A placeholder stands where the id would; the system before it always has a name.
    shown = found["value"].str.split(":", n=1).str[1] if kind == "external_id" else found["value"]
    for pattern in job.blocked[kind]:
        found = found[~shown.loc[found.index].str.contains(pattern, regex=True)]
    return found


def _people(records: pd.DataFrame, accounts: pd.DataFrame, job: Job) -> pd.DataFrame:
    """Persons with what is known best of each: by the system's priority, then the newest; of accounts the one known for longest."""
    companies = accounts.sort_values(["occurred_at", "seq"])
    companies["domain"] = companies["domain"].str.strip().str.lower()
    companies = companies[~companies["domain"].isin(job.free_mail)]
    by_domain = companies.groupby("domain")
    known_since = by_domain["seq"].min()
    companies = by_domain.last()[["industry", "employee_count", "annual_revenue_usd"]]
    records["own_email"] = records["email"].fillna(records["typed"])
    domain = records["own_email"].str.lower().str.split("@", n=1).str[1]
    records["account"] = domain.where(domain.isin(companies.index))
    records["valid_from"] = records["created_at"].fillna(records["first_received_at"])
    records["priority"] = records["system"].map(job.priorities).fillna(1_000)
    records["changed_at"] = records["occurred_at"].fillna(records["valid_from"])
    # An address that several may read is nobody's own while there is another.
    shared = records["own_email"].str.lower().str.split("@", n=1).str[0].isin(job.shared_mailboxes)
    records["unshared_email"] = records["own_email"].where(~shared)
    best = records.sort_values(["priority", "changed_at"], ascending=[True, False]).groupby(
        "person"
    )
    people = best[["country", "region", "company", "job_title", "latest_source"]].first()
    addresses = best[["unshared_email", "own_email"]].first()
    people["own_email"] = addresses["unshared_email"].fillna(addresses["own_email"])
    records["known_since"] = records["account"].map(known_since)
    people["account"] = records.sort_values("known_since").groupby("person")["account"].first()
    first = records.sort_values("valid_from").groupby("person")
    people["original_source"] = first["original_source"].first()
    people["first_seen_at"] = first["valid_from"].min()
    people["latest_source"] = people["latest_source"].fillna(people["original_source"])
    people["email_domain"] = people["own_email"].str.lower().str.split("@", n=1).str[1]
    people["at"] = _microseconds(people["first_seen_at"])
    return people.join(companies, on="account")


def _ledger(activities: pd.DataFrame, people: pd.DataFrame, job: Job) -> pd.DataFrame:
    """An entry for each activity and each trait a rule gives points for."""
    entries = []
    for number, rule in enumerate(job.engagement):
        found = activities[activities["activity_type"] == rule["activity_type"]]
        for column, name in (
            ("url", "url_pattern"),
            ("form_id", "form_pattern"),
            ("campaign_id", "campaign_pattern"),
        ):
            if rule[name]:
                found = found[found[column].fillna("").str.contains(rule[name], regex=True)]
        if rule["once"]:
            found = found.sort_values("at").drop_duplicates("person")
        entries.append(_entries(found["person"], found["at"], rule, number))
    for number, rule in enumerate(job.fit, start=len(job.engagement)):
        found = people[_meets(people[rule["attribute"]], rule)]
        entries.append(_entries(found.index.to_series(), found["at"], rule, number))
    return pd.concat(entries, ignore_index=True)


def _entries(person: Any, at: Any, rule: dict[str, Any], number: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "person": person.to_numpy(),
            "at": at.to_numpy(),
            "rule": np.int16(number),
            "points": rule["points"],
            "half_life": rule["half_life_days"] or np.inf,
            "cap": np.inf if rule["cap"] is None else rule["cap"],
        }
    )


def _meets(value: pd.Series[Any], rule: dict[str, Any]) -> Any:
    match rule["operator"]:
        case "equals":
            return value.str.lower() == rule["value"].lower()
        case "in":
            return value.str.lower().isin([one.lower() for one in json.loads(rule["value"])])
        case "matches":
            return value.fillna("").str.contains(rule["value"], regex=True)
        case "at_least":
            return pd.to_numeric(value, errors="coerce") >= float(rule["value"])
        case _:
            return value.notna()


def _scores(ledger: pd.DataFrame, job: Job) -> pd.Series[Any]:
    age = (job.as_of.timestamp() * 1e6 - ledger["at"]) / DAY
    points = ledger["points"] * np.power(0.5, age / ledger["half_life"])
    by_rule = (
        ledger.assign(points=points)
        .groupby(["person", "rule"], sort=False)
        .agg(points=("points", "sum"), cap=("cap", "first"))
    )
    total = by_rule["points"].clip(-by_rule["cap"], by_rule["cap"]).groupby("person").sum()
    return total.clip(upper=job.total_cap).round(6)


def _mqls(ledger: pd.DataFrame, job: Job) -> int:
    """How many people reached the threshold at one of their entries.

    Points of one rule all decay alike, so what they are worth at an entry is a running sum of points
    grown to a common instant, shrunk to the entry's.
    """
    most = (
        ledger.assign(points=ledger["points"].clip(lower=0))
        .groupby(["person", "rule"])
        .agg(points=("points", "sum"), cap=("cap", "first"))
        .min(axis=1)
        .groupby("person")
        .sum()
    )
    within_reach = most.index[most >= job.mql_threshold - 1e-6]
    entries = ledger[ledger["person"].isin(within_reach)].sort_values(["person", "at"])
    start = entries["at"].min()
    person = entries["person"]
    days = (entries["at"] - start) / DAY
    score = pd.Series(0.0, index=entries.index)
    for rule, first in entries.drop_duplicates("rule").set_index("rule").iterrows():
        grown = entries["points"] * np.exp2(days / first["half_life"])
        running = grown.where(entries["rule"] == rule, 0.0).groupby(person).cumsum()
        worth = running * np.exp2(-days / first["half_life"])
        score += worth.clip(-first["cap"], first["cap"])
    # Entries of one instant count together: the last of them tells.
    last = ~entries.duplicated(["person", "at"], keep="last")
    reached = last & (score.clip(upper=job.total_cap).round(6) >= job.mql_threshold)
    return int(person[reached].nunique())


def _touchpoints(
    activities: pd.DataFrame, people: pd.DataFrame, campaigns: pd.DataFrame, job: Job
) -> pd.DataFrame:
    touched = activities[activities["activity_type"].isin(job.touchpoint_types)]
    campaign = campaigns.sort_values("seq").drop_duplicates("record_id", keep="last")
    by_campaign = touched["campaign_id"].map(campaign.set_index("record_id")["channel"]).str.lower()
    medium = touched["utm_medium"].str.lower()
    kind = touched["activity_type"]
    referrer = touched["referrer"].fillna("")
    channel = np.select(
        [
            kind.isin(["email_click", "email_open"]) | (medium == "email").fillna(False),
            medium.isin(PAID_SEARCH),
            medium.isin(PAID_SOCIAL),
            medium.isin(ORGANIC_SOCIAL),
            medium.notna(),
            by_campaign.notna(),
            kind == "webinar_attend",
            referrer.str.contains(SEARCH, regex=True),
            referrer.str.contains(SOCIAL, regex=True),
            referrer != "",
        ],
        [
            "email", "paid_search", "paid_social", "organic_social", medium.astype(object),
            by_campaign.astype(object), "webinar", "organic_search", "organic_social", "referral",
        ],
        "direct",
    )  # fmt: skip
    own = touched[["person", "at"]].assign(channel=channel)
    arrived = people[people["original_source"].notna() & ~people.index.isin(touched["person"])]
    stated = pd.DataFrame(
        {
            "person": arrived.index,
            "at": arrived["at"].to_numpy(),
            "channel": arrived["original_source"].str.lower().to_numpy(),
        }
    )
    return pd.concat([own, stated], ignore_index=True)


def _attribution(
    opportunities: pd.DataFrame, touchpoints: pd.DataFrame, records: pd.DataFrame, job: Job
) -> dict[tuple[str, str], float]:
    """Revenue by model and channel, to the cent: the last credited touch takes what is left."""
    deals = _newest(
        opportunities, ["system", "record_id"], ["contact_ids", "amount_usd", "closed_at", "is_won"]
    )
    deals = deals[deals["is_won"].fillna(False).astype(bool)]
    first = deals["system"] + ":" + deals["contact_ids"].map(json.loads).str[0]
    deals = deals.assign(
        person=first.map(records.set_index("key")["person"]),
        cents=(deals["amount_usd"].astype(float) * 100).round(),
        until=_microseconds(deals["closed_at"].fillna(job.as_of)),
        deal=np.arange(len(deals)),
    )[["deal", "person", "cents", "until"]]
    journeys = deals.merge(touchpoints, on="person")
    journeys = journeys[journeys["at"] <= journeys["until"]].sort_values(["deal", "at"])
    by_deal = journeys.groupby("deal")
    position = by_deal.cumcount() + 1
    count = by_deal["at"].transform("size")
    untouched = deals.loc[~deals["deal"].isin(journeys["deal"]), "cents"].sum() / 100
    revenue: dict[tuple[str, str], float] = {}
    for model, (first_weight, last_weight, is_even) in job.attribution.items():
        ends = (first_weight + last_weight) or 1.0
        weight = np.select(
            [
                count == 1,
                np.full(len(count), is_even),
                (count == 2) & (position == 1),
                count == 2,
                position == 1,
                position == count,
            ],
            [1.0, 1.0 / count, first_weight / ends, last_weight / ends, first_weight, last_weight],
            (1 - first_weight - last_weight) / (count - 2).clip(lower=1),
        )
        share = pd.Series(np.floor((journeys["cents"] * weight).round(4)), index=journeys.index)
        rest = journeys["cents"] - share.groupby(journeys["deal"]).transform("sum")
        credited = journeys[weight > 0]
        last = credited.index[~credited.duplicated("deal", keep="last")]
        share.loc[last] += rest.loc[last]
        for channel, cents in share.groupby(journeys["channel"]).sum().items():
            revenue[model, str(channel)] = float(cents) / 100
        if untouched:
            revenue[model, "unattributed"] = float(untouched)
    return revenue
