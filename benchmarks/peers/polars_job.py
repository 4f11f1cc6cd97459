"""The job in polars, as somebody who knows it would write it: lazy where it can be, scipy for the graph."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

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
DAY = 86_400e6


def run(raw: Path, out: Path, job: Job) -> Outcome:
    """Do the job on the Parquet files of `raw`, one folder a table; what came out is kept in `out`."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - started

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(raw / table / "*.parquet")

    with timed("activities"):
        activities = (
            scan("activities")
            .select(
                "seq", "system", "activity_id", "activity_type", "contact_id", "email", "anonymous_id", "url",
                "referrer", "utm_medium", "campaign_id", "form_id", "received_at", at=pl.col("occurred_at").cast(pl.Int64),
            )
            .sort("seq")
            .unique(["system", "activity_id"], keep="last")
            .with_columns(key=_record_key())
            .collect()
        )  # fmt: skip
        anonymous = activities.filter(pl.col("key").is_null()).drop("key")
        activities = activities.drop_nulls("key")
    with timed("identity"):
        contacts = _newest(scan("contacts"), ["system", "record_id"], CONTACT_FIELDS).collect()
        records = _records(scan, activities, contacts)
        count, person = components(len(records), *_links(records, scan("merges").collect(), job))
        records = records.with_columns(person=pl.Series(person, dtype=pl.Int64))
    with timed("people"):
        people = _people(records, scan("accounts"), job)
        activities = activities.join(records.select("key", "person"), on="key").drop("key")
        activities = pl.concat([activities, _visits(anonymous, activities, job)])
    with timed("scores"):
        ledger = _ledger(activities, people, job)
        scores = _scores(ledger, job)
    with timed("MQLs"):
        mql_people = _mqls(ledger, job)
    with timed("attribution"):
        touchpoints = _touchpoints(activities, people, scan("campaigns").collect(), job)
        revenue = _attribution(scan("opportunities"), touchpoints, records, job)
    with timed("writing"):
        for name, frame in (
            ("records", records),
            ("people", people),
            ("activities", activities),
            ("ledger", ledger),
            ("scores", scores),
            ("touchpoints", touchpoints),
        ):
            frame.write_parquet(out / f"{name}.parquet")
    return Outcome(
        count,
        len(activities),
        scores["total_score"].sort().to_numpy(),
        mql_people,
        revenue,
        seconds,
    )


def _visits(anonymous: pl.DataFrame, activities: pl.DataFrame, job: Job) -> pl.DataFrame:
    """Visits of browsers that were seen with one person only, from so many days before the first
    time until as many after the last."""
    browser = ["system", "anonymous_id"]
    browsers = (
        activities.drop_nulls("anonymous_id")
        .group_by(browser)
        .agg(
            pl.col("person").min(),
            other=pl.col("person").max(),
            first_at=pl.col("at").min(),
            last_at=pl.col("at").max(),
        )
        .filter(pl.col("person") == pl.col("other"))
    )
    days = int(job.browser_days * DAY)
    return (
        anonymous.join(browsers, on=browser)
        .filter(
            pl.col("at") >= pl.col("first_at") - days,
            pl.col("at") < pl.col("last_at") + days,
        )
        .select(activities.columns)
    )


def _record_key() -> pl.Expr:
    by_contact = pl.col("system") + ":" + pl.col("contact_id")
    by_address = pl.col("system") + ":email:" + pl.col("email").str.strip_chars().str.to_lowercase()
    return by_contact.fill_null(by_address)


def _newest(rows: pl.LazyFrame, key: list[str], fields: list[str]) -> pl.LazyFrame:
    """Records as they stand: a field not sent is unchanged."""
    return (
        rows.sort("occurred_at", "received_at", "seq")
        .group_by(key, maintain_order=True)
        .agg(
            pl.col(*fields).drop_nulls().last(),
            occurred_at=pl.col("occurred_at").max(),
            created_at=pl.col("occurred_at").min(),
        )
    )


def _records(scan: Any, activities: pl.DataFrame, contacts: pl.DataFrame) -> pl.DataFrame:
    """Every record anything names, with what is known of it."""

    def mentions(rows: pl.LazyFrame, contact: pl.Expr) -> pl.LazyFrame:
        key = pl.col("system") + ":" + contact
        return rows.select(key=key, system="system", received_at="received_at")

    ids = pl.List(pl.String)
    named = pl.col("contact_ids").str.json_decode(ids)
    merged = pl.col("merged_ids").str.json_decode(ids)
    found = pl.concat(
        [
            activities.lazy().select("key", "system", "received_at"),
            scan("consents").select("system", "received_at", key=_record_key()).select("key", "system", "received_at"),
            mentions(scan("contacts"), pl.col("record_id")),
            mentions(scan("meetings"), pl.col("contact_id")),
            mentions(scan("stage_changes"), pl.col("contact_id")),
            mentions(scan("opportunities").with_columns(id=named).explode("id"), pl.col("id")),
            mentions(scan("merges").with_columns(id=merged).explode("id"), pl.col("id")),
            mentions(scan("merges"), pl.col("surviving_id")),
        ]
    ).drop_nulls("key")  # fmt: skip
    known = contacts.lazy().with_columns(key=pl.col("system") + ":" + pl.col("record_id"))
    records: pl.DataFrame = (
        found.group_by("key")
        .agg(pl.col("system").first(), first_received_at=pl.col("received_at").min())
        .join(known.drop("system"), on="key", how="left")
        .with_columns(typed=pl.col("key").str.extract(r"^[^:]*:email:(.*)$"))
        .collect()
        .with_row_index("record")
    )
    return records


def _links(records: pl.DataFrame, merges: pl.DataFrame, job: Job) -> tuple[Any, Any]:
    """Pairs of records that carry the same identifier."""
    email = pl.coalesce("email", "typed").str.strip_chars().str.to_lowercase()
    stated = pl.List(pl.Struct({"system": pl.String, "record_id": pl.String}))
    directives = merges.with_columns(
        merged=pl.col("merged_ids").str.json_decode(pl.List(pl.String))
    ).explode("merged")
    by_merge = directives.select(
        key=pl.col("system") + ":" + pl.col("surviving_id"),
        value=pl.col("system") + ":" + pl.col("merged"),
    ).join(records.select("key", "record"), on="key")
    named = (
        records.drop_nulls("external_ids")
        .select("record", one=pl.col("external_ids").str.json_decode(stated))
        .explode("one")
        .select("record", value=pl.col("one").struct.field("system") + ":" + pl.col("one").struct.field("record_id"))
    )  # fmt: skip
    is_shared = pl.col("value").str.split("@").list.first().is_in(job.shared_mailboxes)

    def identifiers(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
        # A placeholder stands where the id would; the system before it always has a name.
        shown = pl.col("value")
        if kind == "external_id":
            shown = shown.str.replace(r"^[^:]*:", "")
        return (
            rows.select("record", "value", kind=pl.lit(kind))
            .drop_nulls()
            .filter(*(~shown.str.contains(pattern) for pattern in job.blocked[kind]))
        )

    carried = pl.concat(
        [
            identifiers("email", records.select("record", value=email).filter(~is_shared)),
            identifiers("phone", records.select("record", value=pl.col("phone").str.replace_all(r"[^+0-9]", ""))),
            identifiers("external_id", records.filter(pl.col("typed").is_null()).select("record", value="key")),
            identifiers("external_id", named),
            identifiers("external_id", by_merge),
        ]
    ).unique()  # fmt: skip
    linking = carried.with_columns(
        first=pl.col("record").min().over("kind", "value"),
        count=pl.len().over("kind", "value"),
        most=pl.col("kind").replace_strict(job.max_records, return_dtype=pl.Int64),
    ).filter(pl.col("count") <= pl.col("most"))
    return linking["record"].to_numpy(), linking["first"].to_numpy()


def _people(records: pl.DataFrame, accounts: pl.LazyFrame, job: Job) -> pl.DataFrame:
    """Persons with what is known best of each: by the system's priority, then the newest; of accounts the one known for longest."""
    company = ["industry", "employee_count", "annual_revenue_usd"]
    companies = (
        accounts.sort("occurred_at", "seq")
        .with_columns(account=pl.col("domain").str.strip_chars().str.to_lowercase())
        .filter(~pl.col("account").is_in(job.free_mail))
        .group_by("account")
        .agg(pl.col(*company).drop_nulls().last(), known_since=pl.col("seq").min())
    )
    best = ["country", "region", "company", "job_title", "latest_source"]
    ranked = (
        records.lazy()
        .with_columns(
            own_email=pl.coalesce("email", "typed"),
            valid_from=pl.coalesce("created_at", "first_received_at"),
            priority=pl.col("system").replace_strict(
                job.priorities, default=1_000, return_dtype=pl.Int64
            ),
        )
        .with_columns(
            changed_at=pl.coalesce("occurred_at", "valid_from"),
            domain=pl.col("own_email")
            .str.to_lowercase()
            .str.split("@")
            .list.get(1, null_on_oob=True),
            is_shared=pl.col("own_email")
            .str.to_lowercase()
            .str.split("@")
            .list.get(0)
            .is_in(job.shared_mailboxes),
        )
        .join(companies.select("account", "known_since", domain="account"), on="domain", how="left")
    )
    order = ["priority", "changed_at"]
    people: pl.DataFrame = (
        ranked.sort(order, descending=[False, True])
        .group_by("person")
        .agg(
            pl.col(*best).drop_nulls().first(),
            # An address that several may read is nobody's own while there is another.
            own_email=pl.coalesce(
                pl.col("own_email").filter(~pl.col("is_shared")).drop_nulls().first(),
                pl.col("own_email").drop_nulls().first(),
            ),
            account=pl.col("account").sort_by("known_since").drop_nulls().first(),
            original_source=pl.col("original_source").sort_by("valid_from").drop_nulls().first(),
            at=pl.col("valid_from").min().cast(pl.Int64),
        )
        .with_columns(
            latest_source=pl.coalesce("latest_source", "original_source"),
            email_domain=pl.col("own_email").str.to_lowercase().str.split("@").list.get(1, null_on_oob=True),
        )
        .join(companies, on="account", how="left")
        .collect()
    )  # fmt: skip
    return people


def _ledger(activities: pl.DataFrame, people: pl.DataFrame, job: Job) -> pl.DataFrame:
    """An entry for each activity and each trait a rule gives points for."""
    entries = []
    for number, rule in enumerate(job.engagement):
        found = activities.lazy().filter(pl.col("activity_type") == rule["activity_type"])
        for column, name in (
            ("url", "url_pattern"),
            ("form_id", "form_pattern"),
            ("campaign_id", "campaign_pattern"),
        ):
            if rule[name]:
                found = found.filter(pl.col(column).fill_null("").str.contains(rule[name]))
        if rule["once"]:
            found = found.sort("at").unique("person", keep="first")
        entries.append(_entries(found, rule, number))
    for number, rule in enumerate(job.fit, start=len(job.engagement)):
        found = people.lazy().filter(_meets(pl.col(rule["attribute"]), rule))
        entries.append(_entries(found, rule, number))
    return pl.concat(pl.collect_all(entries))


def _entries(found: pl.LazyFrame, rule: dict[str, Any], number: int) -> pl.LazyFrame:
    return found.select(
        "person",
        "at",
        rule=pl.lit(number, pl.Int16),
        points=pl.lit(rule["points"], pl.Float64),
        half_life=pl.lit(rule["half_life_days"] or float("inf"), pl.Float64),
        cap=pl.lit(float("inf") if rule["cap"] is None else rule["cap"], pl.Float64),
    )


def _meets(value: pl.Expr, rule: dict[str, Any]) -> Any:
    match rule["operator"]:
        case "equals":
            return value.str.to_lowercase() == rule["value"].lower()
        case "in":
            return value.str.to_lowercase().is_in(
                [one.lower() for one in json.loads(rule["value"])]
            )
        case "matches":
            return value.str.contains(rule["value"])
        case "at_least":
            return value.cast(pl.Float64, strict=False) >= float(rule["value"])
        case _:
            return value.is_not_null()


def _scores(ledger: pl.DataFrame, job: Job) -> pl.DataFrame:
    age = (job.as_of.timestamp() * 1e6 - pl.col("at")) / DAY
    worth = pl.col("points") * pl.lit(0.5).pow(age / pl.col("half_life"))
    return (
        ledger.lazy()
        .group_by("person", "rule")
        .agg(points=worth.sum(), cap=pl.col("cap").first())
        .group_by("person")
        .agg(pl.col("points").clip(-pl.col("cap"), pl.col("cap")).sum())
        .select("person", total_score=pl.col("points").clip(upper_bound=job.total_cap).round(6))
        .collect()
    )


def _mqls(ledger: pl.DataFrame, job: Job) -> int:
    """How many people reached the threshold at one of their entries.

    Points of one rule all decay alike, so what they are worth at an entry is a running sum of points
    grown to a common instant, shrunk to the entry's.
    """
    within_reach = (
        ledger.lazy()
        .group_by("person", "rule")
        .agg(points=pl.col("points").clip(0.0).sum(), cap=pl.col("cap").first())
        .group_by("person")
        .agg(most=pl.min_horizontal("points", "cap").sum())
        .filter(pl.col("most") >= job.mql_threshold - 1e-6)
        .select("person")
    )
    entries = ledger.lazy().join(within_reach, on="person", how="semi")
    days = (pl.col("at") - pl.col("at").min()) / DAY
    worth = []
    rules = ledger.unique("rule").sort("rule").select("rule", "half_life", "cap").iter_rows()
    for rule, half_life, cap in rules:
        grown = pl.col("points") * pl.lit(2.0).pow(pl.col("days") / half_life)
        running = (
            pl.when(pl.col("rule") == rule).then(grown).otherwise(0.0).cum_sum().over("person")
        )
        worth.append((running * pl.lit(2.0).pow(-pl.col("days") / half_life)).clip(-cap, cap))
    # Entries of one instant count together: the last of them tells.
    is_last = pl.col("at") != pl.col("at").shift(-1).over("person")
    return int(
        entries.sort("person", "at")
        .with_columns(days=days)
        .with_columns(
            score=pl.sum_horizontal(worth).clip(upper_bound=job.total_cap).round(6),
            is_last=is_last.fill_null(True),
        )
        .filter(pl.col("is_last") & (pl.col("score") >= job.mql_threshold))
        .select(pl.col("person").n_unique())
        .collect()
        .item()
    )


def _touchpoints(
    activities: pl.DataFrame, people: pl.DataFrame, campaigns: pl.DataFrame, job: Job
) -> pl.DataFrame:
    campaign = (
        campaigns.sort("seq")
        .unique("record_id", keep="last")
        .select(campaign_id="record_id", by_campaign=pl.col("channel").str.to_lowercase())
    )
    medium, kind = pl.col("utm_medium").str.to_lowercase(), pl.col("activity_type")
    referrer = pl.col("referrer").fill_null("")
    channel = (
        pl.when(kind.is_in(["email_click", "email_open"]) | (medium == "email")).then(pl.lit("email"))
        .when(medium.is_in(PAID_SEARCH)).then(pl.lit("paid_search"))
        .when(medium.is_in(PAID_SOCIAL)).then(pl.lit("paid_social"))
        .when(medium.is_in(ORGANIC_SOCIAL)).then(pl.lit("organic_social"))
        .when(medium.is_not_null()).then(medium)
        .when(pl.col("by_campaign").is_not_null()).then(pl.col("by_campaign"))
        .when(kind == "webinar_attend").then(pl.lit("webinar"))
        .when(referrer.str.contains(SEARCH)).then(pl.lit("organic_search"))
        .when(referrer.str.contains(SOCIAL)).then(pl.lit("organic_social"))
        .when(referrer != "").then(pl.lit("referral"))
        .otherwise(pl.lit("direct"))
    )  # fmt: skip
    own = (
        activities.lazy()
        .filter(kind.is_in(job.touchpoint_types))
        .join(campaign.lazy(), on="campaign_id", how="left")
        .select("person", "at", channel=channel)
        .collect()
    )
    stated = (
        people.filter(pl.col("original_source").is_not_null())
        .join(own, on="person", how="anti")
        .select("person", "at", channel=pl.col("original_source").str.to_lowercase())
    )
    return pl.concat([own, stated])


def _attribution(
    opportunities: pl.LazyFrame, touchpoints: pl.DataFrame, records: pl.DataFrame, job: Job
) -> dict[tuple[str, str], float]:
    """Revenue by model and channel, to the cent: the last credited touch takes what is left."""
    fields = ["contact_ids", "amount_usd", "closed_at", "is_won"]
    first = pl.col("contact_ids").str.json_decode(pl.List(pl.String)).list.first()
    deals = (
        _newest(opportunities, ["system", "record_id"], fields)
        .filter(pl.col("is_won").fill_null(False))
        .select(
            key=pl.col("system") + ":" + first,
            cents=(pl.col("amount_usd").cast(pl.Float64) * 100).round(),
            until=pl.col("closed_at").cast(pl.Int64).fill_null(int(job.as_of.timestamp() * 1e6)),
        )
        .with_row_index("deal")
        .join(records.lazy().select("key", "person"), on="key", how="left")
        .collect()
    )
    position, count = pl.col("position"), pl.col("count")
    journeys = (
        deals.join(touchpoints, on="person")
        .filter(pl.col("at") <= pl.col("until"))
        .sort("deal", "at")
        .with_columns(
            position=pl.int_range(1, pl.len() + 1).over("deal"), count=pl.len().over("deal")
        )
    )
    untouched = deals.join(journeys, on="deal", how="anti")["cents"].sum() / 100
    revenue: dict[tuple[str, str], float] = {}
    for model, (first_weight, last_weight, is_even) in job.attribution.items():
        ends = (first_weight + last_weight) or 1.0
        weight = (
            pl.when(count == 1).then(1.0)
            .when(pl.lit(is_even)).then(1.0 / count)
            .when((count == 2) & (position == 1)).then(first_weight / ends)
            .when(count == 2).then(last_weight / ends)
            .when(position == 1).then(first_weight)
            .when(position == count).then(last_weight)
            .otherwise((1 - first_weight - last_weight) / (count.cast(pl.Float64) - 2))
        )  # fmt: skip
        share = (pl.col("cents") * pl.col("weight")).round(4).floor()
        rest = pl.col("cents") - pl.col("share").sum().over("deal")
        credited = position.filter(pl.col("weight") > 0).max().over("deal")
        cents = (
            journeys.with_columns(weight=weight)
            .with_columns(share=share)
            .with_columns(
                share=pl.col("share") + pl.when(position == credited).then(rest).otherwise(0)
            )
            .group_by("channel")
            .agg(pl.col("share").sum())
        )
        revenue |= {(model, str(channel)): total / 100 for channel, total in cents.iter_rows()}
        if untouched:
            revenue[model, "unattributed"] = float(untouched)
    return revenue
