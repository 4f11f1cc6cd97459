"""What the simulated company spent on ads that the MAP knows nothing of, by campaign and day."""

from __future__ import annotations

from datetime import timedelta

from ingestion.sandbox.draft import Draft, Record

DAYS = 60
# Platform, channel, campaign id and name, mean daily spend, price of a click.
CAMPAIGNS = (
    ("google_ads", "paid_search", "20561847301", "Search Generic DACH", 96.0, 3.1),
    ("google_ads", "display", "20561847455", "Retargeting Display", 31.0, 0.7),
    ("linkedin_ads", "paid_social", "418820356", "Ops Leaders EMEA", 120.0, 7.4),
    ("meta_ads", "paid_social", "6412900318822", "Lookalike Americas", 54.0, 1.6),
)


def ad_spend_rows(draft: Draft) -> list[Record]:
    """One row per campaign and day of the 60 days up to yesterday, oldest first; `cost` in USD."""
    rng = draft.draw["ad_spend"]
    rows: list[Record] = []
    for ago in range(DAYS, 0, -1):
        day = (draft.anchor - timedelta(days=ago)).date()
        share = 0.5 if day.weekday() >= 5 else 1.0
        for platform, channel, campaign_id, name, mean, click in CAMPAIGNS:
            cost = round(mean * share * rng.uniform(0.8, 1.2), 2)
            clicks = round(cost / click)
            rows.append(
                {
                    "date": day.isoformat(),
                    "platform": platform,
                    "channel": channel,
                    "campaign_id": campaign_id,
                    "campaign": name,
                    "cost": cost,
                    "currency": "USD",
                    "impressions": clicks * 40 + rng.randrange(40),
                    "clicks": clicks,
                }
            )
    return rows
