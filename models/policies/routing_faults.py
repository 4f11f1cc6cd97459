"""What a well-formed routing policy may still not say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ingestion import time_zones
from models.policies.lead_routing import RoutingPolicy, Territory
from models.policies.problems import Fault
from models.policies.wording import known, repeated


def routing_faults(policy: RoutingPolicy) -> Iterator[Fault]:
    """Every fault of one version."""
    yield from _territories(policy)
    yield from _reps(policy)
    for index, _, claim in repeated(policy.owners):
        yield Fault(("owners", index), f"'{claim}' occurs twice", "Keep the first: the second never decides.")  # fmt: skip
    graded = sorted(policy.sla_minutes_by_grade.items())
    for (better, sooner), (worse, later) in pairwise(graded):
        if sooner > later:
            yield Fault(
                ("sla_minutes_by_grade", better),
                f"grade {better} waits {sooner} minutes, longer than grade {worse} ({later})",
                "Give the better grade the shorter time.",
            )
    languages = policy.languages
    if languages is not None and languages.field is None and not languages.by_country:
        yield Fault(
            ("languages",),
            "nothing tells a lead's language",
            "Name a custom field, or languages by_country, or remove the section.",
        )
    hours = policy.default_hours
    if hours is not None and hours.time_zone not in time_zones.names():
        yield Fault(
            ("default_hours", "time_zone"),
            f"unknown time zone '{hours.time_zone}'",
            "Use an IANA name, for example Europe/Berlin.",
        )


def _territories(policy: RoutingPolicy) -> Iterator[Fault]:
    territories = policy.territories
    names = [territory.name for territory in territories]
    for index, _, name in repeated(names):
        yield Fault(
            ("territories", index, "name"),
            f"territory '{name}' occurs twice",
            "Put its countries into one entry.",
        )
    defaults = [i for i, territory in enumerate(territories) if territory.default]
    for index in defaults[1:]:
        yield Fault(
            ("territories", index, "default"),
            f"territories '{names[defaults[0]]}' and '{names[index]}' are both the default",
            "Leave `default: true` on one.",
        )
    for index, territory in enumerate(territories):
        if not criteria_of(territory) and not territory.default:
            yield Fault(
                ("territories", index),
                f"territory '{territory.name}' has no country and is not the default",
                "Name its countries or another criterion, or remove it.",
            )
        for position, text in enumerate(territory.postal_codes):
            first, last = postal_range(text)
            if len(first) != len(last) or first > last:
                yield Fault(
                    ("territories", index, "postal_codes", position),
                    f"'{text}' is no range: {first} to {last}",
                    "Give beginnings of one length in order, for example 70..72.",
                )
        least, most = territory.employees_at_least, territory.employees_at_most
        if least is not None and most is not None and least > most:
            yield Fault(
                ("territories", index, "employees_at_least"),
                f"no company has at least {least} and at most {most} employees",
                "Swap the two.",
            )
    yield from _countries(territories)


def _countries(territories: tuple[Territory, ...]) -> Iterator[Fault]:
    """One country in two territories of one priority, where nothing else tells them apart."""
    named = [
        (index, position, country, territory.priority, _besides_country(territory))
        for index, territory in enumerate(territories)
        for position, country in enumerate(territory.countries)
    ]
    for at, first, (country, priority, _) in repeated(row[2:] for row in named):
        index, position = named[at][:2]
        here, other = territories[index].name, territories[named[first][0]].name
        both = (
            f"twice in territory '{here}'"
            if other == here
            else f"in territories '{other}' and '{here}', both of priority {priority}"
        )
        yield Fault(
            ("territories", index, "countries", position),
            f"country '{country}' is {both}",
            "Remove it from one, or give the territory that shall win a lower priority number.",
        )


def _reps(policy: RoutingPolicy) -> Iterator[Fault]:
    names = [territory.name for territory in policy.territories]
    for index, terms in enumerate(policy.reps):
        if terms.weight is not None and terms.weight <= 0:
            yield Fault(
                ("reps", index, "weight"),
                f"weight {terms.weight:g} of {terms.rep_email} is not above 0",
                "Give a positive share; to stop leads, mark the rep out of office in the CRM.",
            )
        if terms.territory is not None and terms.territory not in names:
            yield Fault(
                ("reps", index, "territory"),
                f"unknown territory '{terms.territory}'{known(terms.territory, names)}",
                "Use the name of one of the territories above.",
            )
        of_all = (terms.languages, terms.product_lines, terms.per_day, terms.open_leads)
        if terms.territory is not None and any(told is not None for told in of_all):
            yield Fault(
                ("reps", index),
                f"{terms.rep_email}: only a weight can be of one territory",
                "Give the rest in an entry of the rep without a territory.",
            )
    pairs = ((terms.rep_email.lower(), terms.territory) for terms in policy.reps)
    for index, _, (email, where) in repeated(pairs):
        yield Fault(
            ("reps", index),
            f"{email} has two entries {f'in {where!r}' if where else 'for all territories'}",
            "Make one of them.",
        )


def criteria_of(territory: Territory) -> list[str]:
    """Names of the criteria a territory has."""
    return [
        name
        for name in (
            "countries",
            "regions",
            "postal_codes",
            "industries",
            "employees_at_least",
            "employees_at_most",
        )
        if getattr(territory, name) not in (None, ())
    ]


def postal_range(text: str) -> tuple[str, str]:
    """First and last beginning of a range of postal codes, as codes are compared: upper case, no spaces or hyphens."""
    first, _, last = text.partition("..")
    return plain_code(first), plain_code(last or first)


def plain_code(text: str) -> str:
    """A postal code without what people put between its parts."""
    return "".join(letter for letter in text.upper() if letter.isalnum())


def _besides_country(territory: Territory) -> tuple[object, ...]:
    return (
        territory.regions,
        territory.postal_codes,
        territory.industries,
        territory.employees_at_least,
        territory.employees_at_most,
    )
