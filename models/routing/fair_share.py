"""Deals the leads of a pool to its reps by weight, one after the other; knows neither leads nor
reps."""

from __future__ import annotations

from collections.abc import Sequence

# Weights are policy numbers such as 0.5; in these units their shares are exact.
UNITS = 1_000_000


def fair_turns(weights: Sequence[float], count: int, had: Sequence[int]) -> list[int]:
    """Who takes each of the next `count` turns, as positions in `weights`, counted from 1, after
    each member has had as many as `had` says.

    After every turn each member has had its share of the turns to less than one turn, whatever the
    weights, and a longer deal begins with the shorter one. The member chosen is, of those whose
    share has not been had, the one whose share has to be had soonest. Source: Tijdeman, "The
    chairman assignment problem", Discrete Mathematics 32 (1980). Raises ValueError for a weight
    that is not positive, or a `had` of another length.
    """
    if any(weight <= 0 for weight in weights):
        raise ValueError(f"weights {list(weights)!r}: each must be positive")
    if len(had) != len(weights):
        raise ValueError(f"{len(had)} members have had turns, {len(weights)} have weights")
    units = [max(1, round(weight * UNITS)) for weight in weights]
    if len(units) < 2:
        return [1] * count if units else []
    total = sum(units)
    # The bound, 1 - 1/scale, in units of 1/scale.
    scale = 2 * len(units) - 2
    had = list(had)
    taken = []
    for turn in range(sum(had) + 1, sum(had) + count + 1):
        chosen, soonest = -1, 0
        for member, unit in enumerate(units):
            is_due = scale * turn * unit >= (scale * had[member] + 1) * total
            limit = scale * (had[member] + 1) - 1
            if is_due and (chosen < 0 or limit * units[chosen] < soonest * unit):
                chosen, soonest = member, limit
        had[chosen] += 1
        taken.append(chosen + 1)
    return taken
