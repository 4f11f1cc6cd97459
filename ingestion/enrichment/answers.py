"""What a provider of firmographics answered about a domain, and how it is kept: in the archive, so that a rebuild asks nobody again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ingestion.connectors.extracted import Extracted

SYSTEM = "enrichment"
RESOURCES: tuple[str, ...] = ("companies",)


@dataclass(frozen=True, slots=True)
class Company:
    """Firmographics as a provider knows them; what it does not know is None.

    `country` is ISO 3166-1 alpha-2, `annual_revenue_usd` US dollars a year, `employee_count` persons.
    """

    name: str | None = None
    industry: str | None = None
    employee_count: int | None = None
    annual_revenue_usd: Decimal | None = None
    country: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What `provider` said of `domain` at `fetched_at`: a company, or None when it does not know the domain."""

    provider: str
    domain: str
    company: Company | None
    fetched_at: datetime

    def extracted(self) -> Extracted:
        """The answer as a row of the archive."""
        # A second answer is news even when it says the same: it is younger.
        payload: dict[str, Any] = {
            "provider": self.provider,
            "domain": self.domain,
            "fetched_at": self.fetched_at.isoformat(),
            "company": None,
        }
        if self.company is not None:
            told = {
                name: value for name, value in asdict(self.company).items() if value is not None
            }
            if "annual_revenue_usd" in told:
                told["annual_revenue_usd"] = str(told["annual_revenue_usd"])
            payload["company"] = told
        return Extracted(
            f"{self.provider}/{self.domain}", self.fetched_at, self.company is None, payload
        )
