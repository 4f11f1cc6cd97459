"""What a well-formed scoring policy may still not say: thresholds nobody reaches, rules that contradict each other or never count."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from ingestion.normalize.countries import country_code
from models.policies.documents import (
    FIT_ATTRIBUTES,
    GRADES,
    LEVELS,
    Condition,
    EngagementRule,
    FitRule,
    ScoringPolicy,
)
from models.policies.problems import Fault, Location
from models.policies.wording import PatternCheck, known, pattern_faults, repeated


def scoring_faults(
    policy: ScoringPolicy, activity_types: Collection[str], pattern_fault: PatternCheck
) -> Iterator[Fault]:
    """Every fault; `pattern_fault` says what RE2 has against a pattern, None if nothing."""
    if policy.rearm_below >= policy.mql_threshold:
        yield Fault(
            ("rearm_below",),
            f"rearm_below {policy.rearm_below:g} is not below mql_threshold "
            f"{policy.mql_threshold:g}",
            "Set it lower: a person whose score hovers at the threshold would become an MQL "
            "again and again.",
        )
    grades = policy.grades
    if not grades.a > grades.b > grades.c:
        yield Fault(
            ("grades",),
            f"grades do not fall: a {grades.a:g}, b {grades.b:g}, c {grades.c:g}",
            "Give each grade a lower minimum than the one before: a > b > c.",
        )
    yield from _grid(policy)
    yield from _groups(policy)
    yield from _unreachable(policy)

    ids = [("engagement", index, rule.id) for index, rule in enumerate(policy.engagement)]
    ids += [("fit", index, rule.id) for index, rule in enumerate(policy.fit)]
    ids += [("exclusions", index, rule.id) for index, rule in enumerate(policy.exclusions)]
    for index, first, rule_id in repeated(rule_id for _, _, rule_id in ids):
        section, position, _ = ids[index]
        yield Fault(
            (section, position, "id"),
            f"rule id '{rule_id}' occurs twice (first as rule {ids[first][1] + 1} of "
            f"{ids[first][0]})",
            "Give each rule an id of its own; reasons and caps are kept by id.",
        )
    yield from _engagement(policy, activity_types)
    yield from pattern_faults(
        (
            (("engagement", index, field), getattr(rule, field))
            for index, rule in enumerate(policy.engagement)
            for field in ("url_pattern", "form_pattern", "campaign_pattern")
        ),
        pattern_fault,
    )
    excluded = {_asked(rule): rule.id for rule in policy.exclusions}
    for index, fit_rule in enumerate(policy.fit):
        if fit_rule.points == 0:
            yield Fault(
                ("fit", index, "points"),
                f"rule '{fit_rule.id}' gives 0 points",
                "Give it points, or remove it.",
            )
        if (excluded_by := excluded.get(_asked(fit_rule))) is not None:
            yield Fault(
                ("fit", index),
                f"rule '{fit_rule.id}' asks what exclusion '{excluded_by}' asks: its points could "
                "never matter",
                "Keep one of the two: points against somebody, or no lead at all.",
            )
        yield from _condition(("fit", index), fit_rule, pattern_fault)
    for index, exclusion in enumerate(policy.exclusions):
        yield from _condition(("exclusions", index), exclusion, pattern_fault)


def _asked(condition: Condition) -> tuple[str, str, object]:
    return condition.attribute, condition.operator, condition.value


def _grid(policy: ScoringPolicy) -> Iterator[Fault]:
    levels, cells = policy.levels, policy.mql_cells
    if levels is not None and (len(levels) != 3 or not levels[0] > levels[1] > levels[2]):
        yield Fault(
            ("levels",),
            f"levels are {', '.join(f'{least:g}' for least in levels)}",
            "Give three minimums that fall, of levels 1, 2 and 3: [50, 25, 10].",
        )
    if cells is None:
        return
    if levels is None:
        yield Fault(
            ("mql_cells",),
            "mql_cells are given, and no levels: nobody is in any cell",
            "Give `levels`, the least engagement points of levels 1, 2 and 3, or remove mql_cells.",
        )
        return
    for index, _, cell in repeated(cells):
        yield Fault(("mql_cells", index), f"cell {cell} occurs twice", "Name each cell once.")
    most_fit = _most(policy.fit, policy)
    for index, cell in enumerate(cells):
        missing = [name for name in _better(cell) if name not in cells]
        if missing:
            # Points fade: somebody would become an MQL at an instant when nothing happened.
            yield Fault(
                ("mql_cells", index),
                f"cell {cell} makes MQLs and {', '.join(missing)} does not, though it is better",
                f"Add {', '.join(missing)}, or remove {cell}.",
            )
        least = {"A": policy.grades.a, "B": policy.grades.b, "C": policy.grades.c}.get(cell[0])
        if least is not None and least > most_fit:
            yield Fault(
                ("mql_cells", index),
                f"cell {cell} cannot be reached: grade {cell[0]} needs {least:g} points and the fit "
                f"rules give at most {most_fit:g}",
                "Lower the grade's minimum, raise points, or remove the cell.",
            )


def _better(cell: str) -> list[str]:
    """The cells that fit at least as well and do at least as much."""
    grades = "".join(GRADES).partition(cell[0])[0] + cell[0]
    levels = "".join(LEVELS).partition(cell[1])[0] + cell[1]
    return [grade + level for grade in grades for level in levels]


def _groups(policy: ScoringPolicy) -> Iterator[Fault]:
    names = [group.id for group in policy.groups]
    for index, _, name in repeated(names):
        yield Fault(
            ("groups", index, "id"), f"group '{name}' occurs twice", "Give each a name of its own."
        )
    sections: dict[str, set[str]] = {}
    rules: list[tuple[Location, str, EngagementRule | FitRule]] = [
        *((("engagement", at), "engagement", rule) for at, rule in enumerate(policy.engagement)),
        *((("fit", at), "fit", rule) for at, rule in enumerate(policy.fit)),
    ]
    for at, section, rule in rules:
        if rule.group is None:
            continue
        if rule.group not in names:
            yield Fault(
                (*at, "group"),
                f"unknown group '{rule.group}'{known(rule.group, names)}",
                "Correct the name, or add the group to `groups`.",
            )
        sections.setdefault(rule.group, set()).add(section)
    for index, group in enumerate(policy.groups):
        used = sections.get(group.id, set())
        if not used:
            yield Fault(
                ("groups", index),
                f"group '{group.id}' has no rule",
                "Name it in the rules that shall share its cap, or remove it.",
            )
        if len(used) > 1:
            yield Fault(
                ("groups", index),
                f"group '{group.id}' has engagement and fit rules: they are summed apart",
                "Make a group of each.",
            )
        largest = max((rule.points for _, _, rule in rules if rule.group == group.id), default=0.0)
        if largest > group.cap:
            yield Fault(
                ("groups", index, "cap"),
                f"cap {group.cap:g} of group '{group.id}' is below the {largest:g} points of one of "
                "its rules",
                "Raise the cap or lower the points: a single match would already be cut.",
            )


def _most(rules: Sequence[EngagementRule | FitRule], policy: ScoringPolicy) -> float:
    """The most points that these rules can give somebody."""
    caps = {group.id: group.cap for group in policy.groups}
    most: dict[str | None, float] = {}
    for rule in rules:
        if rule.points > 0:
            limit = rule.points if isinstance(rule, FitRule) or rule.once else rule.cap
            most[rule.group] = most.get(rule.group, 0.0) + (math.inf if limit is None else limit)
    return sum(
        points if group is None else min(points, caps.get(group, math.inf))
        for group, points in most.items()
    )


def _unreachable(policy: ScoringPolicy) -> Iterator[Fault]:
    most = _most(policy.engagement, policy) + _most(policy.fit, policy)
    what = "all rules together give at most"
    if policy.total_cap is not None and policy.total_cap < most:
        most, what = policy.total_cap, "total_cap allows at most"
    if most < policy.mql_threshold:
        yield Fault(
            ("mql_threshold",),
            f"mql_threshold {policy.mql_threshold:g} cannot be reached: {what} {most:g} points",
            "Lower the threshold, or raise caps or points; nobody could ever become an MQL.",
        )


def _engagement(policy: ScoringPolicy, activity_types: Collection[str]) -> Iterator[Fault]:
    for index, rule in enumerate(policy.engagement):
        at: Location = ("engagement", index)
        if rule.activity_type not in activity_types:
            yield Fault(
                (*at, "activity_type"),
                f"unknown activity_type "
                f"'{rule.activity_type}'{known(rule.activity_type, activity_types)}",
                "Use one of the known types; the registry stands in the contracts.",
            )
        if rule.points == 0:
            yield Fault(
                (*at, "points"), f"rule '{rule.id}' gives 0 points", "Give it points, or remove it."
            )
        if rule.cap is not None and rule.points > 0 and rule.cap < rule.points:
            yield Fault(
                (*at, "cap"),
                f"cap {rule.cap:g} of rule '{rule.id}' is below its points {rule.points:g}",
                "Raise the cap or lower the points: a single activity would already be cut.",
            )
        if rule.cap is not None and rule.points < 0:
            yield Fault(
                (*at, "cap"),
                f"rule '{rule.id}' takes points away ({rule.points:g}) and has a cap, which "
                f"limits points given",
                "Remove the cap; `once: true` takes the points away one time only.",
            )
        if rule.cooldown_hours is not None and rule.once:
            yield Fault(
                (*at, "cooldown_hours"),
                f"rule '{rule.id}' counts once and has a cooldown, which could never matter",
                "Remove `cooldown_hours` or `once`.",
            )
        if rule.cap is not None and rule.once:
            yield Fault(
                (*at, "cap"),
                f"rule '{rule.id}' counts once and has a cap, which could never matter",
                "Remove `cap` or `once`.",
            )
        if rule.points < 0 and rule.half_life_days is not None:
            # A fading penalty raises the score with no activity behind it: the person would become
            # an MQL at an instant when nothing happened, with no reason to show for it.
            yield Fault(
                (*at, "half_life_days"),
                f"rule '{rule.id}' takes points away ({rule.points:g}) and fades after "
                f"{rule.half_life_days:g} days",
                "Remove half_life_days: a score may not rise, and make an MQL, only because time "
                "passed.",
            )


def _condition(at: Location, rule: Condition, pattern_fault: PatternCheck) -> Iterator[Fault]:
    kind = FIT_ATTRIBUTES.get(rule.attribute)
    if kind is None:
        yield Fault(
            (*at, "attribute"),
            f"unknown attribute '{rule.attribute}'{known(rule.attribute, FIT_ATTRIBUTES)}",
            "Use one of the known attributes; a rule on another would never match.",
        )
        return
    is_number = isinstance(rule.value, int | float)
    wanted = {
        "equals": ("a text", isinstance(rule.value, str) or (kind == "number" and is_number)),
        "in": ("a list of texts", isinstance(rule.value, tuple) and len(rule.value) > 0),
        "matches": ("a pattern", isinstance(rule.value, str)),
        "at_least": ("a number", is_number),
        "present": ("no value", rule.value is None),
    }
    need, is_met = wanted[rule.operator]
    if not is_met:
        yield Fault(
            (*at, "value"),
            f"operator '{rule.operator}' of rule '{rule.id}' needs {need}, not "
            f"{_shown(rule.value)}",
            "Change the value or the operator.",
        )
    if (rule.operator == "at_least" and kind != "number") or (
        rule.operator in ("matches", "in") and kind == "number"
    ):
        yield Fault(
            (*at, "operator"),
            f"operator '{rule.operator}' does not fit attribute '{rule.attribute}', which is a "
            f"{kind}",
            "Use at_least or equals with numbers; equals, in or matches with texts.",
        )
    if rule.attribute == "country" and rule.operator in ("equals", "in"):
        told = rule.value if isinstance(rule.value, tuple) else (rule.value,)
        for text in told:
            if isinstance(text, str) and country_code(text) != text.upper():
                yield Fault(
                    (*at, "value"),
                    f"'{text}' of rule '{rule.id}' is no country's code",
                    "Write the two letters of ISO 3166-1: DE, GB.",
                )
    if rule.operator == "matches" and isinstance(rule.value, str):
        yield from pattern_faults([((*at, "value"), rule.value)], pattern_fault)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return f"the list [{', '.join(value)}]" if isinstance(value, tuple) else f"'{value}'"
