"""Money and counts as any language writes them come back as they were, and what is no number is
refused and never read as another one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ingestion.connectors.ad_spend.written import amount, count, day, day_first, decimal_mark

# What groups digits, and what stands before decimals.
STYLES = [(",", "."), (".", ","), ("", "."), ("", ","), (" ", ","), ("\u202f", ","), ("'", ".")]
CENTS = st.integers(-(10**9), 10**9)


def written(cents: int, group: str, mark: str) -> str:
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{f'{whole:,}'.replace(',', group)}{mark}{rest:02d}"


@given(st.lists(CENTS, min_size=1, max_size=8), st.sampled_from(STYLES))
def test_amounts_with_cents_are_read_without_being_told_their_style(
    cents: list[int], style: tuple[str, str]
) -> None:
    texts = [written(one, *style) for one in cents]
    mark = decimal_mark(texts)
    assert mark == style[1]
    assert [amount(text, mark) for text in texts] == [Decimal(one) / 100 for one in cents]


@given(CENTS, st.sampled_from(STYLES), st.sampled_from(["{}", "$ {}", "{} €", "EUR {}", " {}"]))
def test_a_currency_beside_it_changes_no_amount(
    cents: int, style: tuple[str, str], beside: str
) -> None:
    assert amount(beside.format(written(cents, *style)), style[1]) == Decimal(cents) / 100


@given(st.integers(0, 10**12), st.sampled_from(["", ",", ".", " ", "'"]))
def test_counts_are_read_with_any_grouping(number: int, group: str) -> None:
    assert count(f"{number:,}".replace(",", group)) == number


@given(
    st.text(alphabet="0123456789.,-+()$€' \u00a0aE", max_size=14), st.sampled_from([".", ",", None])
)
def test_text_is_an_amount_or_refused_and_never_loses_a_digit(text: str, mark: str | None) -> None:
    try:
        read = amount(text, mark)
    except ValueError:
        return
    digits = "".join(one for one in text if one.isdigit())
    assert "".join(map(str, read.as_tuple().digits)).strip("0") == digits.strip("0")


@given(st.integers(1, 999), st.integers(0, 999))
def test_three_digits_after_one_mark_are_refused_where_nothing_tells(head: int, tail: int) -> None:
    text = f"{head},{tail:03d}"
    assert decimal_mark([text]) is None
    try:
        amount(text, None)
    except ValueError as error:
        assert "two ways" in str(error)
    else:
        raise AssertionError(text)
    assert amount(text, decimal_mark([text], ["10,000"])) == head * 1_000 + tail
    assert amount(text, decimal_mark([text, "0,5"])) == Decimal(head) + Decimal(tail) / 1_000


FORMS = ["%Y-%m-%d", "%Y-%m-%d 00:00:00", "%Y-%m-%dT00:00:00Z", "%Y%m%d", "%b %d, %Y", "%d.%m.%Y"]


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.sampled_from(FORMS))
def test_days_are_read_in_the_forms_that_can_be_read_in_one_way(when: date, form: str) -> None:
    assert day(when.strftime(form), None) == when


@given(
    st.lists(st.dates(date(2000, 1, 1), date(2099, 12, 31)), min_size=1, max_size=6),
    st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"]),
)
def test_days_of_digits_are_what_they_were_or_refused(days: list[date], form: str) -> None:
    texts = [when.strftime(form) for when in days]
    is_day_first = day_first(texts)
    for text, when in zip(texts, days, strict=True):
        try:
            assert day(text, is_day_first) == when
        except ValueError as error:
            assert "two ways" in str(error)
            assert is_day_first is None and when.day <= 12
