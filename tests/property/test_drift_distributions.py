"""Distributions compared: chance raises no alarm, also of few and of skewed ones, and what has moved is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact, hypergeom, wasserstein_distance

from models.drift.distributions import Sample, compare, one_share, psi
from models.drift.distributions import subjects as subjects_called

CELLS = ("ads", "events", "organic", "partner", "referral", "")
SHARES = np.asarray([0.45, 0.3, 0.15, 0.06, 0.03, 0.01])


def counted(random: np.random.Generator, size: int, shares: np.ndarray = SHARES) -> dict[str, int]:
    return dict(zip(CELLS, map(int, random.multinomial(size, shares)), strict=True))


def scored(random: np.random.Generator, size: int) -> np.ndarray:
    """As scores are: many at nought, some at full tens, a long tail."""
    told: np.ndarray = np.where(
        random.random(size) < 0.4, 0.0, random.choice([10.0, 20.0, 35.0], size)
    ) + (random.random(size) < 0.1) * random.lognormal(3, 1, size)
    return told


def subjects(random: np.random.Generator, before: int, now: int) -> list[Sample]:
    return [
        Sample("few", counted(random, before), counted(random, 31)),
        Sample("many", counted(random, 8 * before), counted(random, 8 * now)),
        Sample("rare rule", {"met": (rare := int(random.binomial(before, 0.02))), "not": before - rare}, {"met": (rare := int(random.binomial(now, 0.02))), "not": now - rare}),
        Sample("score", scored(random, before), scored(random, now)),
        Sample("score of few", scored(random, 40), scored(random, now)),
    ]  # fmt: skip


def learned_and_counted(random: np.random.Generator) -> Sample:
    """A number against tenths of what was learned from, as a lead model keeps them: the edges are of one of both samples."""
    learned, now = random.lognormal(2, 1, 400), random.lognormal(2, 1, 90)
    edges = np.quantile(learned, np.linspace(0, 1, 11)[1:-1])
    cells = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=10)
        for values in (learned, now)
    ]
    return Sample(
        "tenths",
        *({str(place): int(n) for place, n in enumerate(counts)} for counts in cells),
    )


def test_without_a_cause_alarms_are_as_rare_as_is_said() -> None:
    random = np.random.default_rng(21)
    worlds, rate = 300, 0.05
    alarms = sum(
        any(
            shift.is_significant
            for shift in compare(
                [*subjects(random, 150, 200), learned_and_counted(random)], alarm_rate=rate
            )
        )
        for _ in range(worlds)
    )
    # No more than this in all but one run of a thousand; and not so few that nothing would ever be seen.
    assert alarms <= binom.ppf(0.999, worlds, rate)
    assert alarms >= 1


def test_the_customary_threshold_alone_would_alarm_of_few() -> None:
    """The control: of 31 people a stability index above 0.1 is nothing."""
    random = np.random.default_rng(22)
    told = [
        compare([Sample("few", counted(random, 150), counted(random, 31))])[0] for _ in range(100)
    ]
    assert sum(shift.size > 0.1 for shift in told) > 50
    assert sum(shift.beyond_chance > 0.1 for shift in told) <= 3


@pytest.mark.parametrize("size", [150, 600])
def test_what_has_moved_is_found(size: int) -> None:
    random = np.random.default_rng(23)
    moved = np.asarray([0.2, 0.3, 0.15, 0.06, 0.28, 0.01])
    found = {"sources": 0, "score": 0}
    for _ in range(40):
        others = subjects(random, size, size)
        told = compare([
            *others,
            Sample("sources", counted(random, size), counted(random, size, moved)),
            Sample("score up", scored(random, size), scored(random, size) + 12),
        ])  # fmt: skip
        found["sources"] += told[-2].beyond_chance > 0.1
        found["score"] += told[-1].beyond_chance > 0.1
    assert min(found.values()) >= 38


def test_what_is_compared_beside_a_subject_changes_only_how_rare_it_has_to_be() -> None:
    random = np.random.default_rng(24)
    several = subjects(random, 100, 100)
    [alone] = compare(several[:1])
    assert compare(several)[0].size == alone.size


def test_sizes_are_those_of_the_books() -> None:
    before, now = {"a": 500, "b": 300, "c": 200}, {"a": 250, "b": 350, "c": 400}
    [told] = compare([Sample("s", before, now)])
    shares = (
        [(n + 0.5) / 1001.5 for n in before.values()],
        [(n + 0.5) / 1001.5 for n in now.values()],
    )
    expected = sum((q - p) * np.log(q / p) for p, q in zip(*shares, strict=True))
    assert told.size == pytest.approx(expected)
    assert told.evidence == "a: 50.0%, now 25.0%"
    random = np.random.default_rng(25)
    numbers = scored(random, 300), scored(random, 200) * 2
    [moved] = compare([Sample("s", *numbers)])
    spread = np.concatenate(numbers).std()
    assert moved.size == pytest.approx(wasserstein_distance(*numbers) / spread)
    # Of thousands a part is compared, and says nearly the same.
    many = random.normal(0, 1, 20_000), random.normal(1, 1, 30_000)
    [told] = compare([Sample("s", *many)])
    assert told.size == pytest.approx(wasserstein_distance(*many) / np.concatenate(many).std(), rel=0.1)  # fmt: skip


def test_the_chance_of_two_cells_is_what_counting_all_outcomes_says() -> None:
    for met in (3, 9, 15):
        [told] = compare(
            [Sample("rule", {"met": met, "not": 60 - met}, {"met": 4, "not": 66})], alarm_rate=2e-4
        )
        met_now = np.arange(met + 4 + 1)
        met_before = met + 4 - met_now
        sizes = psi(
            np.stack([met_before, 60 - met_before], axis=1), np.stack([met_now, 70 - met_now], 1)
        )
        exact = hypergeom.pmf(met_now, 130, met + 4, 70)[sizes >= told.size * (1 - 1e-9)].sum()
        assert told.p_value == pytest.approx(exact, rel=0.6)


def test_of_too_few_nothing_is_told() -> None:
    for before, now in ((counted(np.random.default_rng(1), 9), {"ads": 100}), ({}, {"ads": 100})):
        [told] = compare([Sample("few", before, now)])
        assert told.p_value is None and told.beyond_chance == 0.0
        assert "at least 30 are needed" in told.evidence
    [told] = compare([Sample("few", np.zeros(0), np.zeros(5))])
    assert told.p_value is None
    # Everybody the same as ever.
    [told] = compare([Sample("same", np.full(50, 3.0), np.full(60, 3.0))])
    assert told.size == 0 and told.p_value == pytest.approx(1.0)


table = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))


@given(table)
@settings(max_examples=60)
def test_of_one_stratum_the_share_is_tested_as_fisher_does(cells: Any) -> None:
    with_before, without_before, with_now, without_now = cells
    told = one_share([
        (with_before, with_before + without_before, with_now, with_now + without_now)
    ])  # fmt: skip
    expected = fisher_exact([[with_before, without_before], [with_now, without_now]]).pvalue
    if told is None:
        assert expected == pytest.approx(1.0)
    else:
        assert told == pytest.approx(expected, rel=1e-6)


def test_what_moves_between_strata_is_no_change_of_the_share() -> None:
    """Nine of ten from ads give their title, and one of ten at events; more come from events. Taken together the share falls."""
    ads_and_events = [(450, 500, 180, 200), (10, 100, 40, 400)]
    together = tuple(map(sum, zip(*ads_and_events, strict=True)))
    assert one_share(ads_and_events) == pytest.approx(1.0)
    alone = one_share([together])  # type: ignore[list-item]
    assert alone is not None and alone < 1e-20
    # Where it falls in each, it is found, of few in each as well.
    falling = one_share([(18, 20, 9, 20), (17, 20, 8, 20), (19, 20, 12, 20)])
    assert falling is not None and falling < 1e-5


def test_the_exact_chance_of_strata_is_what_drawing_says() -> None:
    random = np.random.default_rng(26)
    strata = [(5, 12, 9, 14), (3, 9, 7, 10), (1, 30, 4, 25)]
    exact = one_share(strata)
    found = sum(with_now for _, _, with_now, _ in strata)
    drawn = sum(
        random.hypergeometric(b + n, (B - b) + (N - n), N, 200_000) for b, B, n, N in strata
    )
    values, counts = np.unique(drawn, return_counts=True)
    here = counts[values == found][0]
    assert exact == pytest.approx(counts[counts <= here * 1.02].sum() / 200_000, abs=0.01)


def test_subjects_of_one_label_are_told_apart() -> None:
    """Labels are prose: a policy may have two rules of the same, and each has to be a subject of its own."""
    told = subjects_called("rule", {"a": "Asked", "b": "Asked", "c": "Read"})
    assert told == {"a": "rule: Asked (a)", "b": "rule: Asked (b)", "c": "rule: Read"}


def test_an_index_of_equals_is_nought() -> None:
    same = np.asarray([[3, 0, 9]])
    assert psi(same, same * 1)[0] == 0.0
