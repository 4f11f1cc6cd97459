"""What faults of policies are told with: what was probably meant, what stands there twice, what RE2 has against a pattern."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from models.policies.problems import Fault, Location

PatternCheck = Callable[[str], str | None]

RE2_LIMITS = (
    "Patterns run on RE2: no look-ahead or look-behind, no back-references, at most 1000 "
    "repetitions; "
    "write a backslash once, and put the pattern in single quotes if YAML objects."
)


def known(value: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: what was probably meant, and what there is."""
    names = list(names)
    near = difflib.get_close_matches(value, names, n=1)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    return f"{meant} (known: {', '.join(names) or 'none'})"


def repeated(values: Iterable[Any]) -> Iterator[tuple[int, int, Any]]:
    """(position, position of the first, value) of every value that was there before."""
    first: dict[Any, int] = {}
    for index, value in enumerate(values):
        if value in first:
            yield index, first[value], value
        else:
            first[value] = index


def pattern_faults(
    patterns: Iterable[tuple[Location, str | None]], pattern_fault: PatternCheck
) -> Iterator[Fault]:
    """A fault for each pattern RE2 cannot run."""
    for location, pattern in patterns:
        if pattern is None:
            continue
        reason = pattern_fault(pattern)
        if reason is not None:
            yield Fault(location, f"'{pattern}' is no valid pattern: {reason}", RE2_LIMITS)
