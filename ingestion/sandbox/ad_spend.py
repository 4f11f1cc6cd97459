"""The simulated company's ad spend as a published Google Sheet exports it: one CSV for all
platforms, readable by anybody with the link."""

from __future__ import annotations

import csv
import io

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.world import World

COLUMNS = {
    "Date": "date",
    "Platform": "platform",
    "Channel": "channel",
    "Campaign ID": "campaign_id",
    "Campaign": "campaign",
    "Cost": "cost",
    "Currency": "currency",
    "Impressions": "impressions",
    "Clicks": "clicks",
}


class AdSpendSheet:
    """The one address of the sheet."""

    def __init__(self, world: World) -> None:
        """Serves the ad spend of `world`."""
        self.world = world

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        router.add_api_route("/export", self.export, methods=["GET"])
        return router

    async def export(self, request: Request) -> Response:
        """`format=csv` as Sheets writes it: RFC 4180, commas, UTF-8, a line of totals at the end."""
        if request.query_params.get("format") != "csv":
            page = "<!DOCTYPE html><title>Ad spend - Sheets</title>"
            return Response(page, media_type="text/html; charset=utf-8")
        rows = self.world.ad_spend
        written = io.StringIO()
        table = csv.writer(written)
        table.writerow(COLUMNS)
        for row in rows:
            money = f"{row['cost']:,.2f}"
            table.writerow([money if name == "cost" else row[name] for name in COLUMNS.values()])
        sums = {
            name: sum(row[name] for row in rows) for name in ("cost", "impressions", "clicks")
        } | {"date": "Total"}
        sums["cost"] = f"{sums['cost']:,.2f}"
        table.writerow([sums.get(name, "") for name in COLUMNS.values()])
        request.scope.setdefault("sandbox", {})["rows"] = len(rows)
        return Response(
            written.getvalue().encode(),
            media_type="text/csv",
            headers={"content-disposition": 'attachment; filename="Ad spend - Daily.csv"'},
        )
