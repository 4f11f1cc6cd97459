"""Schedules for what no event announces: polling, the tests that read whole tables, the pages."""

from __future__ import annotations

import dagster as dg

from orchestration.jobs import DATA_DOCS, ENRICH, MICRO_BATCH, TEST_WAREHOUSE, TRAIN


def schedules() -> list[dg.ScheduleDefinition]:
    """The schedules, in UTC; they start switched off, as an operator decides what runs by itself."""
    return [
        dg.ScheduleDefinition(
            name="poll_every_five_minutes",
            job_name=MICRO_BATCH,
            cron_schedule="*/5 * * * *",
            description="Polls the systems that send no webhooks, and lets scores decay.",
        ),
        dg.ScheduleDefinition(
            name="test_hourly",
            job_name=TEST_WAREHOUSE,
            cron_schedule="20 * * * *",
            description="Runs every dbt data test.",
        ),
        dg.ScheduleDefinition(
            name="enrich_hourly",
            job_name=ENRICH,
            cron_schedule="35 * * * *",
            description="Asks providers of firmographics about the domains that are due.",
        ),
        dg.ScheduleDefinition(
            name="train_when_due_daily",
            job_name=TRAIN,
            cron_schedule="10 5 * * *",
            description="Learns the lead model anew when what it says is not what happens, or there is much more to learn from.",
        ),
        dg.ScheduleDefinition(
            name="build_data_docs_daily",
            job_name=DATA_DOCS,
            cron_schedule="40 4 * * *",
            description="Rebuilds the Data Docs pages.",
        ),
    ]
