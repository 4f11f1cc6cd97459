"""Which links of a group of records hold: average linkage, so that a chain of weak links makes no person.

Source: Sokal and Michener, "A statistical method for evaluating systematic relationships", 1958 (UPGMA), on match weights in place of
distances.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# A weight beyond this says no more: one pair that agrees on everything must not carry ten that disagree.
_CLIP = 20.0

Refusal = Literal["average", "conflict", "size", "density"]


@dataclass(frozen=True, slots=True)
class GuardRules:
    """Limits of the policy; weights are log2 of the odds, `min_density` a share 0..1."""

    link: float
    unscored: float
    max_records: int
    min_density: float = 0.0


@dataclass(slots=True)
class _Cluster:
    records: int
    values: dict[str, set[str]]


def settle_links(
    pairs: Sequence[tuple[int, int, float]],
    members: Sequence[tuple[int, int, Sequence[str]]],
    rules: GuardRules,
) -> list[tuple[int, int, Refusal | None]]:
    """Of every pair whose weight is `rules.link` or more: left, right, and why it does not hold (None: it holds).

    `pairs` are (left, right, weight) with left < right, all that were scored of the group; `members` are (record, root, values): all its
    records, the component the identifiers make (its smallest record) and values a person has only one of, as `name=value`. Components are
    joined strongest average first while the average of all pairs between two is `rules.link` or more and no limit is passed. The result
    depends on the set of pairs and members only, not on their order.
    """
    root_of = {record: root for record, root, _ in members}
    clusters: dict[int, _Cluster] = {}
    for _, root, values in members:
        cluster = clusters.setdefault(root, _Cluster(0, defaultdict(set)))
        cluster.records += 1
        for value in values:
            name, _, said = value.partition("=")
            cluster.values[name].add(said)
    # Sums over the scored pairs between two clusters, above what an unscored pair counts; and how many were scored.
    excess: dict[int, dict[int, float]] = defaultdict(dict)
    scored: dict[int, dict[int, int]] = defaultdict(dict)
    for left, right, weight in sorted(pairs):
        a, b = root_of[left], root_of[right]
        if a == b:
            continue
        # A human's no is far below any weight and is not clipped.
        told = weight if weight < -_CLIP * 2 else max(-_CLIP, min(_CLIP, weight))
        for one, other in ((a, b), (b, a)):
            excess[one][other] = excess[one].get(other, 0.0) + told - rules.unscored
            scored[one][other] = scored[one].get(other, 0) + 1

    def average(a: int, b: int) -> float:
        return excess[a][b] / (clusters[a].records * clusters[b].records) + rules.unscored

    queue = [(-average(a, b), a, b) for a in sorted(excess) for b in sorted(excess[a]) if a < b]
    heapq.heapify(queue)
    joined = {root: root for root in clusters}
    refused: dict[tuple[int, int], Refusal] = {}
    while queue:
        negative, a, b = heapq.heappop(queue)
        if a not in clusters or b not in clusters or b not in excess[a]:
            continue
        if average(a, b) != -negative:
            continue
        if -negative < rules.link:
            break
        reason = _limit(clusters[a], clusters[b], scored[a][b], rules)
        if reason:
            refused[a, b] = reason
            continue
        _absorb(a, b, clusters, excess, scored)
        joined[b] = a
        for other in sorted(excess[a]):
            first, second = min(a, other), max(a, other)
            heapq.heappush(queue, (-average(a, other), first, second))

    def settled(root: int) -> int:
        while joined[root] != root:
            root = joined[root]
        return root

    verdicts: list[tuple[int, int, Refusal | None]] = []
    for left, right, weight in sorted(pairs):
        a, b = settled(root_of[left]), settled(root_of[right])
        if weight < rules.link or root_of[left] == root_of[right]:
            continue
        verdicts.append(
            (left, right, None if a == b else refused.get((min(a, b), max(a, b)), "average"))
        )
    return verdicts


def _limit(a: _Cluster, b: _Cluster, scored: int, rules: GuardRules) -> Refusal | None:
    for name, values in a.values.items():
        others = b.values.get(name)
        if values and others and not values & others:
            return "conflict"
    if a.records + b.records > rules.max_records:
        return "size"
    if scored / (a.records * b.records) < rules.min_density:
        return "density"
    return None


def _absorb(
    a: int,
    b: int,
    clusters: dict[int, _Cluster],
    excess: dict[int, dict[int, float]],
    scored: dict[int, dict[int, int]],
) -> None:
    """Make b part of a; both are roots, a the smaller."""
    for table in (excess, scored):
        own: dict[int, Any] = table[a]
        for other, told in sorted(table.pop(b).items()):
            del table[other][b]
            if other != a:
                own[other] = table[other][a] = own.get(other, 0) + told
    gone = clusters.pop(b)
    clusters[a].records += gone.records
    for name, values in gone.values.items():
        clusters[a].values[name] |= values
