"""Whose turn it is by weight, when who may take one changes from turn to turn; knows neither leads nor reps."""

from __future__ import annotations

from collections.abc import Sequence

# Shares are sums of fractions: what differs by less is the same.
SMALL = 1e-9


def next_in_turn(
    weights: Sequence[float], entitled: Sequence[float], had: Sequence[float]
) -> tuple[int, list[int]]:
    """Who of those that may take it takes the next turn, as a position in `weights`, and after how many more turns at the latest each
    has to have one.

    `entitled` is what each was entitled to so far, `had` what they had; this turn entitles each to their share of one. The one chosen is,
    of those who have not had what they are entitled to, the one whose share has to be had soonest: as long as the same may take turns, each
    has had their share to less than one turn, whatever the weights. Ties go to the first. Source: Tijdeman, "The chairman assignment
    problem", Discrete Mathematics 32 (1980), whose shares may change from turn to turn too.

    Raises ValueError for a weight that is not positive.
    """
    total = sum(weights)
    if min(weights) <= 0:
        raise ValueError(f"weights {list(weights)!r}: each must be positive")
    if len(weights) == 1:
        return 0, [0]
    # Nobody is more than 1 - 1/scale off.
    scale = 2 * len(weights) - 2
    chosen, soonest = -1, 0.0
    left: list[float] = []
    for member, weight in enumerate(weights):
        rate = weight / total
        turns = (had[member] + 1 - 1 / scale - entitled[member]) / rate
        left.append(turns)
        is_due = entitled[member] + rate >= had[member] + 1 / scale - SMALL
        if is_due and (chosen < 0 or turns < soonest - SMALL * scale):
            chosen, soonest = member, turns
    if chosen < 0:
        # All that is owed is owed to those who may not take it now.
        chosen = min(range(len(left)), key=left.__getitem__)
    return chosen, [max(0, int(turns - 1 + SMALL * scale)) for turns in left]
