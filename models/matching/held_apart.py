"""Records that share identifiers, except where a person has said that two of them are two, or one person would have too many of a kind.

Source: Kruskal, "On the shortest spanning subtree of a graph", 1956: links are taken strongest first, and one that would bring two
records held apart into one group, or too many values, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# (record, kind, value)
Owned = tuple[int, str, int]


def join_except_apart(
    records: Sequence[int],
    carried: Sequence[Sequence[int]],
    apart: Iterable[tuple[int, int]],
    owned: Iterable[Owned] = (),
    limits: Mapping[str, int] | None = None,
    matches: Sequence[Sequence[int]] = (),
) -> list[int]:
    """The group of each record, named by its smallest record, in the order of `records`.

    `records` come in the order in which they were first received; `carried` are, of each identifier, strongest first, the records that
    carry it; `apart` are pairs no group may hold both of. `owned` are the values records have of kinds that `limits` allows a person only so
    many different ones of; `matches` are records joined by evidence, after the identifiers, whatever they own. Whoever carries an identifier
    joins the group of the earliest other carrier whom nothing holds them apart from: two that a person has split stay two, whatever they
    share, and a third goes with the earlier one. No two groups that share an identifier could be joined without bringing a pair held apart
    together or going past a limit. The result depends on the order of `records` and `carried`, on nothing else.
    """
    place = {record: position for position, record in enumerate(records)}
    group = {record: record for record in records}
    members = {record: [record] for record in records}
    foes: dict[int, set[int]] = {record: set() for record in records}
    for left, right in apart:
        if left in place and right in place and left != right:
            foes[left].add(right)
            foes[right].add(left)
    limits = limits or {}
    values: dict[int, dict[str, set[int]]] = {}
    for record, kind, value in owned:
        if record in place and kind in limits:
            values.setdefault(record, {}).setdefault(kind, set()).add(value)

    def is_too_much(a: int, b: int) -> bool:
        """Whether one person would have more of a kind than is allowed."""
        ours, theirs = values.get(a, {}), values.get(b, {})
        return any(
            len(ours.get(kind, set()) | theirs.get(kind, set())) > limit
            for kind, limit in limits.items()
        )

    def join(one: int, other: int, *, is_limited: bool = True) -> bool:
        """Whether the two are of one group now."""
        a, b = group[one], group[other]
        if a == b:
            return True
        if len(members[a]) < len(members[b]):
            a, b = b, a
        if any(group[foe] == a for foe in foes[b]):
            return False
        if is_limited and values and is_too_much(a, b):
            return False
        for record in members[b]:
            group[record] = a
        members[a] += members.pop(b)
        foes[a] |= foes.pop(b)
        for kind, theirs in values.pop(b, {}).items():
            values.setdefault(a, {}).setdefault(kind, set()).update(theirs)
        return True

    for carriers in carried:
        met: list[int] = []
        for record in sorted(carriers, key=place.__getitem__):
            # One record of each group is asked: the others answer the same.
            if not any(join(other, record) for other in met):
                met.append(record)
    for pair in matches:
        for record in pair[1:]:
            join(pair[0], record, is_limited=False)
    named = {root: min(held) for root, held in members.items()}
    return [named[group[record]] for record in records]
