"""What people must be where some records are held apart, whichever way they were found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TypeVar

Record = TypeVar("Record")


def assert_split_right(
    found: set[frozenset[Record]],
    components: Iterable[frozenset[Record]],
    linking: Iterable[Sequence[Record]],
    apart: set[frozenset[Record]],
) -> None:
    """No pair held apart is together, nobody is joined whom nothing links, no component is in pieces that holds no pair, and no two groups
    are apart that could be one.

    `found` are the people, `components` what hangs together before the split, `linking` the records of each identifier that links, and
    `apart` the pairs.
    """
    group = {record: members for members in found for record in members}
    assert not any(pair <= members for pair in apart for members in found), "a word is broken"
    for component in components:
        inside = {group[record] for record in component}
        assert frozenset().union(*inside) == component, "somebody is joined whom nothing links"
        if not any(pair <= component for pair in apart):
            assert inside == {component}, "a component is in pieces"
    for held in linking:
        for one, other in combinations({group[record] for record in held}, 2):
            assert any(pair & one and pair & other for pair in apart), "two might have stayed one"
