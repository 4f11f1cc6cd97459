"""Exports of ad spend as the platforms write them: every row is read as it is meant, or refused with
its line, its value and what to do."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion.connectors.ad_spend import source
from ingestion.connectors.ad_spend.columns import declared_names
from ingestion.connectors.ad_spend.sheet import Options, Sheet, read_sheet
from ingestion.connectors.extracted import Extracted
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

# The shapes of files that were exported: what precedes the table, how it is encoded, what sums it up.
GOOGLE = (
    "Campaign report\n"
    '"March 1, 2026 - March 2, 2026"\n'
    "Day,Campaign,Campaign ID,Currency code,Cost,Impr.,Clicks\n"
    '2026-03-01,"Search, Generic",20561847301,USD,"1,096.40","12,345",31\n'
    "2026-03-02,Brand,20561847455,USD,31.00,--,7\n"
    'Total: Campaigns, , ,USD,"1,127.40","12,345",38\n'
)
META = (
    "\ufeffCampaign name,Campaign ID,Day,Amount spent (EUR),Impressions,Link clicks,"
    "Reporting starts,Reporting ends\n"
    ",,,75.50,300,,2026-03-01,2026-03-02\n"
    "Lookalike,6412,2026-03-01,54.25,200,9,2026-03-01,2026-03-02\n"
    "Lookalike,6412,2026-03-02,21.25,100,4,2026-03-01,2026-03-02\n"
)
LINKEDIN = (
    "Campaign Performance Report (in UTC)\n"
    '"Report Start: March 1, 2026, 12:00 AM"\n'
    '"Report End: March 2, 2026, 11:59 PM"\n'
    "Date Generated: March 3, 2026, 8:00 AM\n"
    "\n"
    "Start Date (in UTC)\tAccount Name\tCurrency\tCampaign ID\tCampaign Name\tTotal Spent\tImpressions\tClicks\n"
    "3/1/2026\tLumenwerk\tUSD\t418820356\tOps Leaders\t120.10\t1000\t16\n"
    "3/2/2026\tLumenwerk\tUSD\t418820356\tOps Leaders\t99.90\t900\t12\n"
)
LINKEDIN_DUTCH = (
    "Begindatum (in UTC)\tAccountnaam\tValuta\tCampagne-ID\tCampagnenaam\tTotaal besteed\tWeergaven\tKlikken\n"
    "23-9-2026\tLumenwerk\tEUR\t418820356\tOps Leaders\t1.055,39\t1.000\t16\n"
)
GERMAN = (
    "Tag;Kampagne;Kampagnen-ID;Währungscode;Kosten;Impressionen;Klicks\n"
    "01.03.2026;Suche;77;EUR;1.234,56;10.000;31\n"
    "02.03.2026;Suche;77;EUR;12,5;900;3\n"
    "Summe;;;;1.247,06;10.900;34\n"
)


def read(text: str | bytes, encoding: str = "utf-8", **options: str) -> Sheet:
    content = text.encode(encoding) if isinstance(text, str) else text
    return read_sheet("export.csv", content, Options(**options))  # type: ignore[arg-type]


def spent(sheet: Sheet) -> list[tuple[str, str, str, str, str]]:
    return [
        (row.platform, str(row.date), row.campaign_id, row.currency, str(row.cost))
        for row in sheet.rows
    ]


def test_a_google_report_is_read_past_its_title_and_up_to_its_totals() -> None:
    sheet = read(GOOGLE)
    assert spent(sheet) == [
        ("google_ads", "2026-03-01", "20561847301", "USD", "1096.40"),
        ("google_ads", "2026-03-02", "20561847455", "USD", "31.00"),
    ]
    assert [(row.campaign, row.impressions, row.clicks) for row in sheet.rows] == [
        ("Search, Generic", 12_345, 31),
        ("Brand", None, 7),
    ]
    assert (sheet.totals, sheet.refusals) == (1, ())
    assert {row.channel for row in sheet.rows} == {"paid_search"}


def test_cost_in_micros_is_money() -> None:
    text = "segments.date,campaign.id,metrics.cost_micros\n2026-03-01,7,1234567\n"
    columns = declared_names("date=segments.date; campaign_id=campaign.id")
    [row] = read_sheet("api.csv", text.encode(), Options(columns=columns)).rows
    assert (row.platform, row.cost) == ("google_ads", Decimal("1.234567"))


def test_a_meta_export_has_its_currency_in_a_header_and_totals_without_a_name() -> None:
    sheet = read(META)
    assert spent(sheet) == [
        ("meta_ads", "2026-03-01", "6412", "EUR", "54.25"),
        ("meta_ads", "2026-03-02", "6412", "EUR", "21.25"),
    ]
    assert (sheet.totals, sheet.refusals) == (1, ())


def test_what_was_spent_for_no_campaign_is_no_total_unless_the_others_come_to_it() -> None:
    [refusal] = read(META.replace(",,,75.50", ",,,80.00")).refusals
    assert (refusal.line, refusal.code) == (2, "SCHEMA_INVALID")
    assert "80.00 were spent for no campaign" in refusal.message


def test_a_meta_export_of_a_range_is_refused_as_it_tells_of_no_day() -> None:
    text = (
        "Campaign name,Amount spent (USD),Reporting starts,Reporting ends\n"
        "Lookalike,75.50,2026-03-01,2026-03-02\n"
    )
    [refusal] = read(text).refusals
    assert (refusal.line, refusal.column) == (2, "Reporting starts")
    assert refusal.remedy == "Export with a breakdown by day."


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_a_linkedin_report_is_utf_16_with_tabs_and_months_first(encoding: str) -> None:
    sheet = read(LINKEDIN, encoding)
    assert spent(sheet) == [
        ("linkedin_ads", "2026-03-01", "418820356", "USD", "120.10"),
        ("linkedin_ads", "2026-03-02", "418820356", "USD", "99.90"),
    ]
    assert {row.account for row in sheet.rows} == {"Lumenwerk"}


def test_a_linkedin_report_in_dutch_has_days_first_and_commas() -> None:
    assert spent(read(LINKEDIN_DUTCH, "utf-16")) == [
        ("linkedin_ads", "2026-09-23", "418820356", "EUR", "1055.39")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_german_export_has_semicolons_and_decimal_commas(encoding: str) -> None:
    sheet = read(GERMAN, encoding)
    assert spent(sheet) == [
        ("google_ads", "2026-03-01", "77", "EUR", "1234.56"),
        ("google_ads", "2026-03-02", "77", "EUR", "12.5"),
    ]
    assert [row.impressions for row in sheet.rows] == [10_000, 900]
    assert sheet.totals == 1


def test_a_campaign_called_total_is_no_total() -> None:
    text = "Campaign,Day,Cost,Impr.\nTotal Solutions,2026-03-01,5.00,7\nTotal: Account,,5.00,7\n"
    sheet = read(text)
    assert [row.campaign for row in sheet.rows] == ["Total Solutions"]
    assert (sheet.totals, sheet.refusals) == (1, ())


def test_a_row_that_cannot_be_read_says_line_value_and_remedy_and_the_others_count() -> None:
    text = (
        "Date,Platform,Campaign,Cost,Clicks\n"
        "2026-03-01,Google Ads,Brand,10.00,3\n"
        '2026-03-01,Google Ads,"Two\nlines",12.3.4,3\n'
        "31/31/2026,Google Ads,Brand,1.00,3\n"
        "2026-03-02,,Brand,1.00,3\n"
        "2026-03-02,Google Ads,Brand,,3\n"
        "2026-03-02,Google Ads,Brand,2.00,many\n"
    )
    sheet = read(text)
    assert spent(sheet) == [("google_ads", "2026-03-01", "Brand", "USD", "10.00")]
    assert [(bad.line, bad.column, bad.value, bad.code) for bad in sheet.refusals] == [
        (4, "Cost", "12.3.4", "FIELD_MISMATCH"),
        (5, "Date", "31/31/2026", "DATE_UNPARSABLE"),
        (6, "Platform", "", "SCHEMA_INVALID"),
        (7, "Cost", "", "FIELD_MISMATCH"),
        (8, "Clicks", "many", "FIELD_MISMATCH"),
    ]
    assert all(bad.remedy and bad.message for bad in sheet.refusals)


def test_what_could_mean_two_things_is_refused_until_somebody_says() -> None:
    text = 'Date,Platform,Campaign,Cost\n03/04/2026,x,Brand,"1,234"\n'
    [refusal] = read(text).refusals
    assert "two ways" in refusal.message and "HANDOFF_AD_SPEND_DATE_FORMAT" in refusal.remedy
    [refusal] = read(text, date_format="%d/%m/%Y").refusals
    assert "two ways" in refusal.message and "HANDOFF_AD_SPEND_DECIMAL" in refusal.remedy
    [row] = read(text, date_format="%d/%m/%Y", decimal=",").rows
    assert (row.date, row.cost) == (date(2026, 4, 3), Decimal("1.234"))


def test_other_rows_and_counts_of_a_file_say_what_a_value_means() -> None:
    rows = ['03/04/2026,x,Brand,"1,234","10,000"', "13/04/2026,x,Brand,5,7"]
    sheet = read("\n".join(["Date,Platform,Campaign,Cost,Impressions", *rows]))
    assert [(str(row.date), row.cost) for row in sheet.rows] == [
        ("2026-04-03", Decimal(1234)),
        ("2026-04-13", Decimal(5)),
    ]


def test_a_file_without_the_columns_is_refused_as_a_whole() -> None:
    [refusal] = read("Week,Campaign,Cost\n10,Brand,5\n").refusals
    assert (refusal.line, refusal.code) == (0, "COLUMN_UNKNOWN")
    assert "HANDOFF_AD_SPEND_COLUMNS" in refusal.remedy
    [row] = read("When,Campaign,Media\n2026-03-01,Brand,5\n", platform="TikTok",
                 columns=declared_names("date=When;cost=Media")).rows  # type: ignore[arg-type]  # fmt: skip
    assert (row.platform, row.campaign_id) == ("tiktok", "Brand")
    with pytest.raises(HandoffError, match="known fields: date"):
        declared_names("costs=Media")


def days(folder: Path, **changes: str) -> dict[str, Extracted]:
    settings = Settings(home=folder, ad_spend_url=str(folder), **changes)  # type: ignore[arg-type]
    pages = source.extract("days", None, settings)
    return {row.record_id: row for page in pages for row in page}


def write(path: Path, *rows: str, at: int) -> None:
    path.write_text("\n".join(["Date,Platform,Campaign,Cost", *rows]))
    os.utime(path, (at, at))


def test_the_newest_file_that_covers_a_day_has_all_of_it(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "2026-03-01,google,A,1", "2026-03-01,google,B,2", at=100)
    write(tmp_path / "a.csv", "2026-03-01,google,A,3", "2026-03-03,google,A,4", at=200)
    (tmp_path / "notes.md").write_text("no export")
    found = days(tmp_path)
    costs = {
        key: {one["campaign_id"]: one["cost"] for one in row.payload["campaigns"]}
        for key, row in found.items()
    }
    assert costs == {
        "google_ads//2026-03-01": {"A": "3.0"},
        # Inside the range of the export and not in it: nothing was spent.
        "google_ads//2026-03-02": {},
        "google_ads//2026-03-03": {"A": "4.0"},
    }
    assert [key for key, row in found.items() if row.is_deleted] == ["google_ads//2026-03-02"]


def test_rows_of_parts_of_a_campaign_come_to_one(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "2026-03-01,meta,A,1.10", "2026-03-01,meta,A,2.20", at=1)
    [campaign] = days(tmp_path)["meta_ads//2026-03-01"].payload["campaigns"]
    assert campaign["cost"] == "3.30"


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, ad_spend_url=str(tmp_path / "none.csv"))
    with pytest.raises(HandoffError, match=r"none\.csv: No such file"):
        list(source.extract("days", None, settings))
