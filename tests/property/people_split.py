"""What people must be where some records are held apart or own too much, whichever way they were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

Record = TypeVar("Record")


def assert_split_right(
    found: set[frozenset[Record]],
    components: Iterable[frozenset[Record]],
    linking: Iterable[Sequence[Record]],
    apart: set[frozenset[Record]],
    is_too_much: Callable[[frozenset[Record]], bool] = lambda _: False,
) -> None:
    """No pair held apart is together, nobody is joined whom nothing links or who then has too much, no component is in pieces without a
    reason, and no two groups are apart that could be one.

    `found` are the people, `components` what hangs together before anything is taken apart, `linking` the records of each identifier that
    links, `apart` the pairs, and `is_too_much` says whether these records have more than one person may.
    """
    group = {record: members for members in found for record in members}
    assert not any(pair <= members for pair in apart for members in found), "a word is broken"
    for component in components:
        inside = {group[record] for record in component}
        assert frozenset().union(*inside) == component, "somebody is joined whom nothing links"
        if not any(pair <= component for pair in apart) and not is_too_much(component):
            assert inside == {component}, "a component is in pieces"
        assert not any(is_too_much(members) for members in inside if len(members) > 1), "too much"
    for held in linking:
        for one, other in combinations({group[record] for record in held}, 2):
            assert is_too_much(one | other) or any(pair & one and pair & other for pair in apart), (
                "two might have stayed one"
            )
