"""Whose record each record was held to be, over time."""

from __future__ import annotations

from time import perf_counter

from models.matching.replay import MAX_STEPS, Belonging, replay

A, B, C, D = 11, 12, 13, 14
BORN = {A: 0, B: 1, C: 2, D: 3}
FOR_GOOD = None


def test_who_comes_with_what_the_first_has_is_of_their_person_from_the_start() -> None:
    told = replay({A: 0, B: 1}, [[(A, 0, FOR_GOOD), (B, 1, FOR_GOOD)]])
    assert told == [Belonging(A, A, 0, None, ()), Belonging(B, A, 1, None, ((0, A),))]


def test_what_is_known_later_ends_what_was_known_before_and_changes_nothing_else() -> None:
    # C brings A and B together at 5; until then B is somebody else.
    early = [[(A, 0, FOR_GOOD)], [(B, 1, FOR_GOOD)]]
    late = [
        [(A, 0, FOR_GOOD), (C, 2, FOR_GOOD)],
        [(B, 1, FOR_GOOD), (C, 5, FOR_GOOD)],
    ]
    before = replay({A: 0, B: 1}, early)
    after = replay({A: 0, B: 1, C: 2}, late)
    assert before == [Belonging(A, A, 0, None, ()), Belonging(B, B, 1, None, ())]
    assert after == [
        Belonging(A, A, 0, None, ()),
        Belonging(B, B, 1, 5, ()),
        Belonging(B, A, 5, None, ((1, C), (0, A))),
        Belonging(C, A, 2, None, ((0, A),)),
    ]


def test_a_group_that_is_hung_below_another_keeps_its_own_links() -> None:
    # D is linked through C and B; then B and A turn out to be one.
    told = replay(
        BORN,
        [
            [(A, 9, FOR_GOOD), (D, 3, FOR_GOOD)],
            [(B, 1, FOR_GOOD), (C, 2, FOR_GOOD)],
            [(C, 2, FOR_GOOD), (D, 3, FOR_GOOD)],
        ],
    )
    now = {row.record: row for row in told if row.known_to is None}
    assert {row.root for row in now.values()} == {A}
    assert now[D].path == ((0, A),)
    assert now[C].path == ((2, D), (0, A))
    assert now[B].path == ((1, C), (2, D), (0, A))
    assert all(row.known_from == 9 for row in now.values() if row.record != A)


def test_a_link_that_goes_takes_people_apart_unless_another_one_holds() -> None:
    strong, weak = [(A, 0, FOR_GOOD), (B, 1, 5)], [(A, 0, FOR_GOOD), (B, 1, 8)]
    told = replay({A: 0, B: 1}, [strong, weak])
    assert told == [
        Belonging(A, A, 0, None, ()),
        Belonging(B, A, 1, 5, ((0, A),)),
        Belonging(B, A, 5, 8, ((1, A),)),
        Belonging(B, B, 8, None, ()),
    ]


def test_what_a_person_said_holds_from_when_until_when_it_was_known() -> None:
    shared = [[(A, 0, FOR_GOOD), (B, 1, FOR_GOOD), (C, 2, FOR_GOOD)]]
    told = replay({A: 0, B: 1, C: 2}, shared, [(A, B, 5, 7)])
    assert [row for row in told if row.record == B] == [
        Belonging(B, A, 1, 5, ((0, A),)),
        Belonging(B, B, 5, 7, ()),
        Belonging(B, A, 7, None, ((0, A),)),
    ]
    # A third goes with the earlier of the two, and its path holds all the while.
    assert [row for row in told if row.record == C] == [Belonging(C, A, 2, None, ((0, A),))]


def test_all_at_once_is_one_belonging_each() -> None:
    told = replay(dict.fromkeys(BORN, 0), [[(record, 0, FOR_GOOD) for record in (D, C, B, A)]])
    assert told == [
        Belonging(A, A, 0, None, ()),
        *(Belonging(record, A, 0, None, ((0, A),)) for record in (B, C, D)),
    ]


def test_a_long_chain_is_told_in_good_time_and_no_path_is_endless() -> None:
    records = {number: number for number in range(1, 4_001)}
    links = [[(number, number, None), (number + 1, number + 1, None)] for number in range(1, 4_000)]
    started = perf_counter()
    told = replay(records, links)
    assert {row.root for row in told} == {1}
    assert max(len(row.path) for row in told) == MAX_STEPS
    assert perf_counter() - started < 5, "more than one look at each link"
