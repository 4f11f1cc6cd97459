"""What a routing policy says of one lead and of one rep, with the words for it; keeps no count of anybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from models.policies.lead_routing import RepTerms, RoutingPolicy, Territory
from models.policies.routing_faults import criteria_of, plain_code, postal_range
from models.routing.directory import Rep
from models.routing.working_time import WorkingTime


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may look at of a lead, as the records say it; None is unknown."""

    country: str | None = None
    region: str | None = None
    postal_code: str | None = None
    industry: str | None = None
    employee_count: int | None = None
    product_line: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """One rep in one territory under one policy: what they may take, and when they work. `order` settles ties."""

    rep: Rep
    weight: float
    order: str
    languages: frozenset[str]
    product_lines: frozenset[str]
    per_day: int | None
    open_leads: int | None
    time: WorkingTime


class Rules:
    """One version of the policy."""

    def __init__(self, version: str, policy: RoutingPolicy) -> None:
        """Put in order what is asked for every lead."""
        self.version = version
        self.policy = policy
        self._territories = [
            (territory, _tests(territory))
            for territory in sorted(
                policy.territories,
                key=lambda each: (each.priority, -len(criteria_of(each)), each.name),
            )
            if criteria_of(territory)
        ]
        self._default = next((each.name for each in policy.territories if each.default), None)
        self._terms: dict[str, dict[str | None, RepTerms]] = {}
        for terms in policy.reps:
            self._terms.setdefault(terms.rep_email.lower(), {})[terms.territory] = terms
        self._times: dict[Rep, WorkingTime] = {}
        self.attributes = attributes_of(policy)

    @staticmethod
    def read(version: str, document: str) -> Rules:
        """From the policy as JSON, as `raw_policies.routing_versions` has it: without the prose, of which the shape asks for some."""
        told = {"description": "-", "owner": "-", **json.loads(document)}
        return Rules(version, RoutingPolicy.model_validate_json(json.dumps(told)))

    def sla_minutes(self, grade: str | None) -> int:
        """Minutes to the first touch."""
        by_grade = self.policy.sla_minutes_by_grade
        return next(
            (minutes for known, minutes in by_grade.items() if known == grade),
            self.policy.sla_minutes,
        )

    def territory(self, facts: Facts) -> tuple[str | None, str]:
        """The territory of a lead, None when it belongs to none, and why."""
        named = self._named(facts)
        for territory, tests in self._territories:
            if all(test(facts) for test in tests):
                return territory.name, f"{named} belongs to territory {territory.name}"
        return (
            self._default,
            f"{named} is in no territory: default territory {self._default or 'none'}",
        )

    def language(self, facts: Facts) -> str | None:
        """The lead's language as an ISO 639 code, None when it does not count or nobody knows it."""
        languages = self.policy.languages
        if languages is None:
            return None
        told = (facts.language or "").strip().lower().replace("_", "-").partition("-")[0]
        return told or languages.by_country.get((facts.country or "").upper())

    def product_line(self, facts: Facts) -> str | None:
        """The product line the lead asks for, None when it does not count or nobody knows it."""
        if self.policy.product_lines is None:
            return None
        return (facts.product_line or "").strip().lower() or None

    def takes_leads(self, rep: Rep) -> bool:
        """Whether somebody is there to sell: a directory lists managers and machines too."""
        return rep.is_active and (bool(rep.territories) or (rep.email or "") in self._terms)

    def seat(self, rep: Rep, territory: str | None) -> Seat | None:
        """The rep's seat in a territory, None without one; asked without a territory, what holds for the rep wherever they are."""
        terms = self._terms.get((rep.email or "").lower(), {})
        of_all, here = terms.get(None), terms.get(territory)
        weight = rep.weight
        # A weight for the territory outranks one for all of them.
        for told in (of_all, here):
            if told is not None and told.weight is not None:
                weight = told.weight
        if territory is not None and not (
            rep.is_active and territory in rep.territories and weight > 0
        ):
            return None
        lines = of_all.product_lines if of_all and of_all.product_lines is not None else None
        per_day = of_all.per_day if of_all and of_all.per_day is not None else rep.capacity
        open_leads = (
            of_all.open_leads
            if of_all and of_all.open_leads is not None
            else self.policy.capacity.open_leads
        )
        return Seat(
            rep=rep,
            weight=weight,
            order=hashlib.md5(
                f"{self.policy.seed}{territory}{rep.rep_id}".encode(), usedforsecurity=False
            ).hexdigest(),
            languages=frozenset((of_all and of_all.languages) or ()),
            product_lines=frozenset(
                line.strip().lower() for line in (rep.product_lines if lines is None else lines)
            ),
            per_day=per_day,
            open_leads=open_leads,
            time=self.time(rep),
        )

    def time(self, rep: Rep) -> WorkingTime:
        """When the rep works."""
        if rep not in self._times:
            default = self.policy.default_hours
            hours = rep.working_hours or (default.hours if default else None)
            zone = rep.time_zone or (default.time_zone if default else None)
            self._times[rep] = WorkingTime(zone, hours, rep.working_days)
        return self._times[rep]

    def _named(self, facts: Facts) -> str:
        """What the territories look at of the lead, in words."""
        words = [f"country {(facts.country or '').upper() or 'unknown'}"]
        if "region" in self.attributes:
            words.append(f"region {facts.region or 'unknown'}")
        if "postal_code" in self.attributes:
            words.append(f"postal code {facts.postal_code or 'unknown'}")
        if "industry" in self.attributes:
            words.append(f"industry {facts.industry or 'unknown'}")
        if "employee_count" in self.attributes:
            count = facts.employee_count
            words.append("unknown size" if count is None else f"{count} employees")
        return ", ".join(words)


def attributes_of(policy: RoutingPolicy) -> frozenset[str]:
    """Facts of a lead that the policy looks at; what else changes, changes nothing."""
    named = {name for territory in policy.territories for name in criteria_of(territory)}
    found = {"country"}
    for attribute, criteria in (
        ("region", ("regions",)),
        ("postal_code", ("postal_codes",)),
        ("industry", ("industries",)),
        ("employee_count", ("employees_at_least", "employees_at_most")),
    ):
        if named.intersection(criteria):
            found.add(attribute)
    if policy.product_lines is not None:
        found.add("product_line")
    if policy.languages is not None and policy.languages.field is not None:
        found.add("language")
    return frozenset(found | set(policy.owners))


def _tests(territory: Territory) -> list[Callable[[Facts], bool]]:
    tests: list[Callable[[Facts], bool]] = []
    if territory.countries:
        countries = frozenset(territory.countries)
        tests.append(lambda facts: (facts.country or "").upper() in countries)
    if territory.regions:
        regions = frozenset(region.lower() for region in territory.regions)
        tests.append(lambda facts: (facts.region or "").strip().lower() in regions)
    if territory.postal_codes:
        ranges = tuple(postal_range(text) for text in territory.postal_codes)
        tests.append(lambda facts: _has_code(facts.postal_code, ranges))
    if territory.industries:
        industries = frozenset(industry.lower() for industry in territory.industries)
        tests.append(lambda facts: (facts.industry or "").strip().lower() in industries)
    least, most = territory.employees_at_least, territory.employees_at_most
    if least is not None or most is not None:
        tests.append(lambda facts: _has_size(facts.employee_count, least, most))
    return tests


def _has_size(count: int | None, least: int | None, most: int | None) -> bool:
    return count is not None and (least or 0) <= count and (most is None or count <= most)


def _has_code(code: str | None, ranges: tuple[tuple[str, str], ...]) -> bool:
    plain = plain_code(code or "")
    return any(
        len(plain) >= len(first) and first <= plain[: len(first)] <= last for first, last in ranges
    )
