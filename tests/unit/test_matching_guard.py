"""Average linkage of a group's links: the order of pairs says nothing, chains of weak links do not hold, limits do."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.matching.guard import GuardRules, settle_links

RULES = GuardRules(link=2.0, unscored=-8.0, max_records=50)
Pair = tuple[int, int, float]


def persons(
    records: int, pairs: list[Pair], rules: GuardRules = RULES, **values: list[str]
) -> set[frozenset[int]]:
    """The people that the accepted links make."""
    members = [(record, record, values.get(f"r{record}", [])) for record in range(records)]
    groups = {record: {record} for record in range(records)}
    for left, right, reason in settle_links(pairs, members, rules):
        if reason is None and groups[left] is not groups[right]:
            groups[left] |= groups[right]
            for record in groups[right]:
                groups[record] = groups[left]
    return {frozenset(group) for group in groups.values()}


def reasons(
    pairs: list[Pair], rules: GuardRules = RULES, **values: list[str]
) -> dict[tuple[int, int], str | None]:
    members = [
        (record, record, values.get(f"r{record}", []))
        for record in sorted({end for pair in pairs for end in pair[:2]})
    ]
    return {(left, right): reason for left, right, reason in settle_links(pairs, members, rules)}


def by_definition(records: int, pairs: list[Pair], rules: GuardRules) -> set[frozenset[int]]:
    """UPGMA as its definition has it, every average worked out anew in every step."""
    weight = {frozenset(pair[:2]): max(-20.0, min(20.0, pair[2])) for pair in pairs}
    clusters = [frozenset([record]) for record in range(records)]

    def average(a: frozenset[int], b: frozenset[int]) -> float:
        return sum(weight.get(frozenset([x, y]), rules.unscored) for x in a for y in b) / (
            len(a) * len(b)
        )

    while True:
        best = max(
            (
                (average(a, b), -min(min(a), min(b)), -max(min(a), min(b)), a, b)
                for a, b in combinations(clusters, 2)
            ),
            key=lambda found: (round(found[0], 9), found[1], found[2]),
            default=None,
        )
        if best is None or best[0] < rules.link:
            return set(clusters)
        clusters = [cluster for cluster in clusters if cluster not in best[3:]] + [
            best[3] | best[4]
        ]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Pair]]:
    records = draw(st.integers(2, 9))
    # Weights that no average of others equals: which of two equal ones comes first is told apart by rounding only.
    pairs = [
        (left, right, draw(st.integers(-500, 1500)) / 100 + (left * 31 + right * 17) / 1e5)
        for left, right in combinations(range(records), 2)
        if draw(st.booleans())
    ]
    return records, pairs


@given(graphs())
def test_it_is_average_linkage(graph: tuple[int, list[Pair]]) -> None:
    records, pairs = graph
    assert persons(records, pairs) == by_definition(records, pairs, RULES)


@given(graphs(), st.randoms())
def test_the_order_of_pairs_says_nothing(
    graph: tuple[int, list[Pair]], chance: random.Random
) -> None:
    records, pairs = graph
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    members = [(record, record, []) for record in range(records)]
    assert settle_links(pairs, members, RULES) == settle_links(shuffled, members[::-1], RULES)


def test_a_chain_of_weak_links_makes_no_person() -> None:
    chain = [(number, number + 1, 3.0) for number in range(9)]
    assert max(len(person) for person in persons(10, chain)) == 2


def test_a_strong_group_is_one_person() -> None:
    pairs = [(left, right, 6.0) for left, right in combinations(range(6), 2)]
    assert persons(6, pairs) == {frozenset(range(6))}


def test_different_values_of_a_field_one_has_one_of_are_never_linked() -> None:
    told = reasons([(1, 2, 15.0)], r1=["born=19700101"], r2=["born=19800101"])
    assert told == {(1, 2): "conflict"}
    assert reasons([(1, 2, 15.0)], r1=["born=19700101"], r2=["born=19700101"]) == {(1, 2): None}
    assert reasons([(1, 2, 15.0)], r1=["born=19700101"]) == {(1, 2): None}


def test_a_conflict_is_carried_by_the_whole_component() -> None:
    pairs = [(1, 2, 15.0), (2, 3, 9.0), (1, 3, 9.0)]
    told = reasons(pairs, r1=["born=1"], r3=["born=2"])
    assert told == {(1, 2): None, (1, 3): "conflict", (2, 3): "conflict"}


def test_a_person_has_at_most_so_many_records() -> None:
    pairs = [(1, 2, 9.0), (1, 3, 8.0), (2, 3, 8.0)]
    told = reasons(pairs, GuardRules(link=2.0, unscored=-8.0, max_records=2))
    assert told == {(1, 2): None, (1, 3): "size", (2, 3): "size"}


def test_density_is_asked_for_where_the_policy_wants_it() -> None:
    # Two pairs of strong twins, tied by one of their four pairs.
    pairs = [(1, 2, 19.0), (3, 4, 18.0), (2, 3, 17.0)]
    members = [(1, 1, []), (2, 1, []), (3, 3, []), (4, 3, [])]
    rules = GuardRules(link=-5.0, unscored=-8.0, max_records=50, min_density=0.5)
    assert settle_links(pairs, members, rules) == [(2, 3, "density")]


@pytest.mark.parametrize("weight", [3.0, 19.0])
def test_a_persons_no_outweighs_any_evidence(weight: float) -> None:
    pairs = [(1, 2, weight), (2, 3, weight), (1, 3, -1e6)]
    joined = [pair for pair, reason in reasons(pairs).items() if reason is None]
    assert len(joined) == 1 and (1, 3) not in joined
