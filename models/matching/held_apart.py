"""Records that share identifiers, except where a person has said that two of them are two.

Source: Kruskal, "On the shortest spanning subtree of a graph", 1956: links are taken strongest first, and one that would bring two
records held apart into one group is left out.
"""

from __future__ import annotations

from collections.abc import Sequence


def join_except_apart(
    records: Sequence[int], carried: Sequence[Sequence[int]], apart: Sequence[tuple[int, int]]
) -> list[int]:
    """The group of each record, named by its smallest record, in the order of `records`.

    `records` come in the order in which they were first received; `carried` are, of each identifier, strongest first, the records that
    carry it; `apart` are pairs no group may hold both of. Whoever carries an identifier joins the group of the earliest other carrier
    whom nothing holds them apart from: two that a person has split stay two, whatever they share, and a third goes with the earlier one.
    No two groups that share an identifier could be joined without bringing a pair held apart together. The result depends on the order of
    `records` and `carried`, on nothing else.
    """
    place = {record: position for position, record in enumerate(records)}
    group = {record: record for record in records}
    members = {record: [record] for record in records}
    foes: dict[int, set[int]] = {record: set() for record in records}
    for left, right in apart:
        if left in place and right in place and left != right:
            foes[left].add(right)
            foes[right].add(left)

    def join(one: int, other: int) -> bool:
        """Whether the two are of one group now."""
        a, b = group[one], group[other]
        if a == b:
            return True
        if len(members[a]) < len(members[b]):
            a, b = b, a
        if any(group[foe] == a for foe in foes[b]):
            return False
        for record in members[b]:
            group[record] = a
        members[a] += members.pop(b)
        foes[a] |= foes.pop(b)
        return True

    for carriers in carried:
        met: list[int] = []
        for record in sorted(carriers, key=place.__getitem__):
            # One record of each group is asked: the others answer the same.
            if not any(join(other, record) for other in met):
                met.append(record)
    named = {root: min(held) for root, held in members.items()}
    return [named[group[record]] for record in records]
