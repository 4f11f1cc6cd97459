"""Which column of an export is which of our fields: names that the platforms and their languages
give, and those a user declares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ingestion.errors.catalog import HandoffError

# The first name a file has wins. Sources: Google Ads, "Create, save, and schedule reports"; Meta,
# "About ads reporting columns"; LinkedIn, "Export ad performance reports"; and their files.
NAMES: dict[str, tuple[str, ...]] = {
    "date": ("date", "day", "reporting starts", "start date (in utc)", "begindatum (in utc)", "tag",
             "datum", "startdatum (in utc)", "berichtsstart", "jour", "día", "dia"),
    "date_end": ("reporting ends", "berichtsende"),
    "platform": ("platform", "ad platform", "plattform"),
    "channel": ("channel", "kanal"),
    "account": ("account id", "customer id", "account name", "account", "konto-id", "accountnaam"),
    "campaign_id": ("campaign id", "campaign_id", "kampagnen-id", "campagne-id"),
    "campaign": ("campaign name", "campaign", "campaign_name", "kampagne", "kampagnenname",
                 "campagnenaam"),
    "cost": ("cost", "spend", "amount spent", "total spent", "kosten", "ausgegebener betrag",
             "totaal besteed", "gesamtausgaben", "coût", "coste"),
    "cost_micros": ("cost_micros", "cost micros", "metrics.cost_micros", "cost (micros)"),
    "currency": ("currency", "currency code", "account currency", "währungscode", "währung",
                 "valuta"),
    "impressions": ("impressions", "impr.", "impressionen", "weergaven"),
    "clicks": ("clicks", "link clicks", "clicks (all)", "klicks", "klikken"),
}  # fmt: skip
# What only one platform's export calls its columns.
SIGNS: dict[str, tuple[str, ...]] = {
    "meta_ads": ("amount spent", "reporting starts", "ausgegebener betrag", "berichtsstart"),
    "linkedin_ads": ("start date (in utc)", "total spent", "totaal besteed", "startdatum (in utc)"),
    "google_ads": ("impr.", "currency code", "währungscode", "metrics.cost_micros"),
}
PLATFORMS = {
    "google": "google_ads", "google ads": "google_ads", "adwords": "google_ads",
    "facebook": "meta_ads", "meta": "meta_ads", "meta ads": "meta_ads", "facebook ads": "meta_ads",
    "instagram": "meta_ads", "linkedin": "linkedin_ads", "linkedin ads": "linkedin_ads",
    "microsoft": "microsoft_ads", "bing": "microsoft_ads", "microsoft ads": "microsoft_ads",
    "bing ads": "microsoft_ads",
}  # fmt: skip
CHANNELS = {
    "google_ads": "paid_search",
    "microsoft_ads": "paid_search",
    "meta_ads": "paid_social",
    "linkedin_ads": "paid_social",
}
_CURRENCY = re.compile(r"\s*\(([a-z]{3})\)$")


def plain_name(name: str) -> str:
    """A column's name in lower case without blanks around or twice in it."""
    return " ".join(name.casefold().split())


def declared_names(text: str) -> dict[str, str]:
    """`cost=Media spend;date=When` as column names by field; SETTING_INVALID says what is wrong."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        field, equals, name = part.partition("=")
        if not equals or field.strip() not in NAMES or not name.strip():
            raise HandoffError(
                "SETTING_INVALID",
                f"HANDOFF_AD_SPEND_COLUMNS: {part!r:.80} is no FIELD=COLUMN;"
                f" known fields: {', '.join(NAMES)}",
            )
        found[field.strip()] = plain_name(name)
    return found


class Header:
    """Where each field stands in a file: `at` by field; `currency` and `platform` where the names
    tell them."""

    def __init__(self, cells: Sequence[str], declared: Mapping[str, str]) -> None:
        """`declared` goes before the names the platforms give."""
        names = [plain_name(cell) for cell in cells]
        bare = [_CURRENCY.sub("", name) for name in names]
        self.cells = [cell.strip() for cell in cells]
        self.at: dict[str, int] = {}
        for field, known in NAMES.items():
            wanted = (declared[field],) if field in declared else known
            for name in wanted:
                place = next((at for at, one in enumerate(names) if one == name), None)
                if place is None:
                    place = next((at for at, one in enumerate(bare) if one == name), None)
                if place is not None:
                    self.at[field] = place
                    break
        if {"date", "date_end"} <= self.at.keys() and names[self.at["date"]] in (
            "day",
            "date",
            "tag",
        ):
            # Broken down by day; the range is that of the whole report.
            del self.at["date_end"]
        cost = self.at.get("cost")
        told = _CURRENCY.search(names[cost]) if cost is not None else None
        self.currency = told[1].upper() if told else None
        self.platform = next(
            (platform for platform, signs in SIGNS.items() if set(signs) & {*names, *bare}), None
        )

    @property
    def is_one(self) -> bool:
        """Whether these are the names of columns, and enough of them."""
        costs = {"cost", "cost_micros"} & self.at.keys()
        campaigns = {"campaign", "campaign_id"} & self.at.keys()
        return "date" in self.at and bool(costs) and bool(campaigns)
