"""What the simulated Salesforce writes into OpportunityHistory by itself (Object Reference,
OpportunityHistory)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestion.sandbox.draft import Record
from ingestion.sandbox.salesforce_schema import STAGES


def history_row(
    history_id: str, record: Mapping[str, Any], before: Mapping[str, Any] | None, at: str, user: str
) -> Record:
    """What the platform writes when an opportunity came to be as `record` at `at`."""
    probability, forecast = STAGES.get(str(record["StageName"]), (0, "Pipeline"))
    amount = record.get("Amount")
    return {
        "Id": history_id,
        "IsDeleted": False,
        "OpportunityId": record["Id"],
        "StageName": record["StageName"],
        "Amount": amount,
        "ExpectedRevenue": None if amount is None else round(amount * probability / 100, 2),
        "CloseDate": record.get("CloseDate"),
        "Probability": float(probability),
        "ForecastCategory": forecast,
        "PrevAmount": before.get("Amount") if before else None,
        "PrevCloseDate": before.get("CloseDate") if before else None,
        "CreatedDate": at,
        "CreatedById": user,
        "SystemModstamp": at,
    }
