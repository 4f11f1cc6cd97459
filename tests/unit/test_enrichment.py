"""Providers of firmographics against real files and a real service that can fail, drip and hang; what they say is kept, and nothing else."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingestion.enrichment import catalog
from ingestion.enrichment.answers import Company
from ingestion.enrichment.asking import Asked, Breakers, Terms, ask
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.settings import Settings
from tests.firmographics_server import serving

ACME = {
    "domain": "acme.de",
    "name": "Acme GmbH",
    "industry": "Manufacturing",
    "employee_count": 240,
    "annual_revenue_usd": "31500000.5",
    "country": "de",
}


def terms(*providers: str, timeout: float = 2.0, threshold: int = 3, pause: float = 60.0) -> Terms:
    return Terms(providers, timeout, threshold, pause)


def kept(settings: Settings) -> list[dict[str, Any]]:
    """Every archived answer, oldest first."""
    archive = Archive(settings.archive_dir)
    return [
        orjson.loads(payload) | {"is_deleted": is_deleted}
        for segment in archive.segments("enrichment", "companies")
        for payload, is_deleted in zip(
            archive.read(segment)["payload"].to_pylist(),
            archive.read(segment)["is_deleted"].to_pylist(),
            strict=True,
        )
    ]


def files(folder: Path, text: str, name: str = "companies.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_providers_are_found_by_name() -> None:
    assert catalog.names() == ("files", "http")
    with pytest.raises(HandoffError, match="unknown enrichment provider 'clearbit'; known: files, http"):  # fmt: skip
        catalog.provider("clearbit")


def test_files_tell_of_a_domain_however_it_is_written_and_the_later_row_counts(
    tmp_path: Path,
) -> None:
    folder = files(tmp_path / "csv", "domain,name,employee_count\nwww.Acme.de,Acme,20\n", "a.csv")
    files(folder, "domain,name,annual_revenue_usd,country\nhttps://acme.de/x,Acme AG,7.5,at\n", "b.csv")  # fmt: skip
    settings = Settings(home=tmp_path / "home", enrichment_files=folder)
    with catalog.provider("files").opened(settings, 1.0) as lookup:
        assert lookup("acme.de") == Company(
            name="Acme AG", annual_revenue_usd=Decimal("7.50"), country="AT"
        )
        assert lookup("globex.com") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name\nAcme\n", "no column 'domain'"),
        ("domain,employee_count\nacme.de,many\n", "line 2: employee_count 'many'"),
        ("domain,country\nacme.de,Germany\n", "line 2: country 'Germany'"),
        ("domain,annual_revenue_usd\nacme.de,NaN\n", "line 2: annual_revenue_usd 'NaN'"),
        ("domain\nnonsense\n", "line 2: domain 'nonsense'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, text: str, told: str) -> None:
    settings = Settings(home=tmp_path, enrichment_files=files(tmp_path / "csv", text))
    with pytest.raises(HandoffError, match=told) as caught, catalog.provider("files").opened(settings, 1.0):  # fmt: skip
        pass
    assert caught.value.code == "FIELD_MISMATCH"


def test_the_first_who_knows_answers_and_every_answer_is_kept_an_unknown_too(
    tmp_path: Path,
) -> None:
    folder = files(tmp_path / "csv", "domain,name\nglobex.com,Globex\n")
    with serving(companies={"acme.de": ACME}) as service:
        settings = Settings(
            home=tmp_path / "home",
            enrichment_files=folder,
            enrichment_url=service.url,
            enrichment_token="secret-token",
        )
        domains = ["globex.com", "acme.de", "nobody.net"]
        asked = ask(settings, domains, terms("files", "http"), Breakers())
        assert service.asked == ["acme.de", "nobody.net"], "who is known is not asked about again"
        assert set(service.tokens) == {"Bearer secret-token"}
    assert (asked.known, asked.unknown, asked.unanswered) == (2, 1, 0)
    told = {(row["provider"], row["domain"]): row for row in kept(settings)}
    assert {key: row["company"] for key, row in told.items()} == {
        ("files", "globex.com"): {"name": "Globex"},
        ("files", "acme.de"): None,
        ("http", "acme.de"): {
            "name": "Acme GmbH", "industry": "Manufacturing", "employee_count": 240,
            "annual_revenue_usd": "31500000.50", "country": "DE",
        },
        ("files", "nobody.net"): None,
        ("http", "nobody.net"): None,
    }  # fmt: skip
    assert all(row["is_deleted"] == (row["company"] is None) for row in told.values())
    # An answer that says the same is kept all the same: it is younger.
    again = ask(Settings(home=tmp_path / "home", enrichment_files=folder), ["globex.com"], terms("files"), Breakers())  # fmt: skip
    assert again.known == 1
    assert sum(row["domain"] == "globex.com" for row in kept(settings)) == 2


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (500, "UPSTREAM_UNAVAILABLE"),
        (429, "RATE_LIMITED"),
        (401, "AUTH_EXPIRED"),
        (422, "UPSTREAM_REJECTED"),
        ("no JSON", "UPSTREAM_REJECTED"),
        ("[1]", "UPSTREAM_REJECTED"),
        ('{"employee_count": "many"}', "UPSTREAM_REJECTED"),
        ("hang", "UPSTREAM_UNAVAILABLE"),
        ("drip", "UPSTREAM_UNAVAILABLE"),
        ("x" * 100_000, "UPSTREAM_UNAVAILABLE"),
    ],
)
def test_a_failure_is_no_answer(tmp_path: Path, behaviour: int | str, code: str) -> None:
    with serving(companies={"acme.de": ACME}, behaviour={"*": behaviour}) as service:
        settings = Settings(home=tmp_path, enrichment_url=service.url)
        started = time.monotonic()
        asked = ask(settings, ["acme.de"], terms("http", timeout=0.5), Breakers())
        # The dripping one needs more than ten seconds for its answer.
        assert time.monotonic() - started < 5
    assert (asked.known, asked.unknown, asked.unanswered) == (0, 0, 1)
    assert asked.failures == {"http": 1}
    assert asked.messages["http"].startswith(code)
    assert kept(settings) == []


def test_who_fails_again_and_again_is_left_alone_and_asked_again_after_the_pause(
    tmp_path: Path,
) -> None:
    def asked_about(*domains: str) -> Asked:
        return ask(settings, domains, terms("http", threshold=3, pause=1.0), breakers)

    with serving(companies={"acme.de": ACME}, behaviour={"*": 503}) as service:
        settings, breakers = Settings(home=tmp_path, enrichment_url=service.url), Breakers()
        asked = asked_about(*(f"company{number}.com" for number in range(10)))
        assert len(service.asked) == 3
        assert (asked.unanswered, asked.left_alone) == (10, {"http"})
        assert asked_about("acme.de").left_alone == {"http"}
        assert len(service.asked) == 3, "it was asked while it was left alone"
        service.behaviour.clear()
        time.sleep(1.1)
        assert asked_about("acme.de").known == 1
    # The control: with a threshold nobody reaches, all are asked about.
    with serving(behaviour={"*": 503}) as service:
        settings = Settings(home=tmp_path, enrichment_url=service.url)
        ask(settings, [f"c{number}.com" for number in range(10)], terms("http", threshold=99), Breakers())  # fmt: skip
        assert len(service.asked) == 10


def test_where_one_fails_the_next_is_asked(tmp_path: Path) -> None:
    folder = files(tmp_path / "csv", "domain,name\nacme.de,Acme of the files\n")
    with serving(behaviour={"*": 500}) as service:
        settings = Settings(home=tmp_path, enrichment_url=service.url, enrichment_files=folder)
        asked = ask(settings, ["acme.de", "globex.com"], terms("http", "files"), Breakers())
    # That the files do not know it is no proof that nobody does.
    assert (asked.known, asked.unknown, asked.unanswered) == (1, 0, 1)


def test_credentials_go_to_no_address_without_encryption(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, enrichment_url="http://firmographics.example.com/")
    with pytest.raises(HandoffError, match="HANDOFF_ENRICHMENT_URL") as caught:
        ask(settings, ["acme.de"], terms("http"), Breakers())
    assert caught.value.code == "SYSTEM_NOT_CONFIGURED"
