"""What a routing policy says of one lead and one rep: territories, languages, product lines, claims, and when reps work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.routing.directory import RepChange
from models.routing.leads import Signal
from models.routing.rules import Facts, Rules
from models.routing.working_time import ALWAYS, DAY, MINUTE, NEVER, Absence, WorkingTime, away_until
from tests.property.routing_worlds import HOUR, START, World, from_beginning, lead, policy, rep

TERRITORIES = [
    {"name": "bayern", "priority": 10, "countries": ["DE"], "regions": ["Bayern", "bavaria"]},
    {"name": "stuttgart", "priority": 10, "countries": ["DE"], "postal_codes": ["70..71", "72-1"]},
    {"name": "london", "priority": 10, "postal_codes": ["SW1A"], "countries": ["GB"]},
    {"name": "large", "priority": 5, "employees_at_least": 1000, "industries": ["Software"]},
    {"name": "small", "priority": 20, "countries": ["FR"], "employees_at_most": 10},
    {"name": "dach", "priority": 10, "countries": ["DE", "AT"]},
    {"name": "rest", "priority": 90, "default": True},
]


@pytest.mark.parametrize(
    ("facts", "territory"),
    [
        (Facts("DE", "BAVARIA"), "bayern"),
        (Facts("AT", "Bayern"), "dach"),
        (Facts("de", postal_code="70173"), "stuttgart"),
        (Facts("DE", postal_code="7 21 99"), "stuttgart"),
        (Facts("DE", postal_code="72000"), "dach"),
        (Facts("DE", postal_code="7"), "dach"),
        (Facts("GB", postal_code="sw1a 2aa"), "london"),
        (Facts("GB", postal_code="SW1 2AA"), "rest"),
        (Facts("DE", industry="software", employee_count=1000), "large"),
        (Facts("DE", industry="software", employee_count=999), "dach"),
        (Facts("FR", employee_count=10), "small"),
        (Facts("FR"), "rest"),
        (Facts(), "rest"),
        # Of two that fit, with one priority: the one that names more.
        (Facts("DE", "Bayern", "70173"), "bayern"),
    ],
)
def test_a_lead_belongs_to_the_territory_whose_every_criterion_it_meets(
    facts: Facts, territory: str
) -> None:
    rules = Rules("v1", policy(territories=TERRITORIES))
    found, words = rules.territory(facts)
    assert found == territory
    assert territory in words and (facts.country or "unknown").upper() in words.upper()


def paths(world: World) -> list[tuple[str | None, str, tuple[str, ...]]]:
    return [(one.rep_id, one.cause, one.path) for one in world.deal(START + 30 * DAY).decisions]


def test_claims_come_first_in_their_order_and_whoever_is_away_is_passed_over() -> None:
    rules = {"v1": Rules("v1", policy(owners=["account_owner", "relationship"]))}
    reps = from_beginning(
        rep("anna"), rep("ben"), rep("machine", territories=frozenset()), rep("left", is_active=False)
    )  # fmt: skip
    absences = {"ben": [Absence(START + DAY, START + 2 * DAY, ALWAYS, NEVER)]}
    leads = [
        lead(1, START, account_owner="ben", relationship="anna"),
        lead(2, START + DAY, account_owner="ben", relationship="anna"),
        lead(3, START + 2 * DAY, account_owner="machine", relationship="left"),
        # Whoever had them when they last qualified.
        lead(4, START + 3 * DAY, person_id="person000001"),
    ]
    found = paths(World(rules, reps, absences, leads))
    assert found[0] == ("ben", "account_owner", ("account owner: Ben",))
    assert found[1][:2] == ("anna", "relationship")
    assert found[1][2] == ("account owner: out of office until 2026-03-04T00:00:00Z", "existing relationship: Anna")  # fmt: skip
    assert found[2][1] == "pool"
    assert found[2][2][:2] == (
        "account owner: somebody who takes no leads", "existing relationship: somebody who takes no leads",
    )  # fmt: skip
    assert found[3][:2] == ("ben", "relationship")


def test_who_sells_and_speaks_what_is_asked_for_is_a_pool_of_its_own() -> None:
    settings = {
        "product_lines": {"field": "custom.line", "when_nobody": "fallback"},
        "languages": {"field": "custom.language", "by_country": {"AT": "de"}},
        "reps": [{"rep_email": "anna@firm.example", "languages": ["de", "fr"]}],
        "fallback_rep_email": "ben@firm.example",
    }
    rules = {"v1": Rules("v1", policy(**settings))}
    reps = from_beginning(
        rep("anna", product_lines=frozenset({"Platform"})),
        rep("ben", product_lines=frozenset({"platform", "services"})),
    )
    asked = [
        (Facts("DE", product_line=" PLATFORM "), {"anna", "ben"}, "dach/platform/-"),
        (Facts("DE", product_line="services"), {"ben"}, "dach/services/-"),
        (Facts("DE", product_line="none of ours"), {"ben"}, None),
        (Facts("DE", language="fr-FR"), {"anna"}, "dach/-/fr"),
        (Facts("AT"), {"anna"}, "dach/-/de"),
        (Facts("DE", language="it"), {"anna", "ben"}, "dach"),
    ]
    leads = [
        lead(number * 10 + place, START + number * HOUR, facts=facts)
        for number, (facts, _, _) in enumerate(asked)
        for place in range(4)
    ]
    found = World(rules, reps, leads=leads).deal(START + DAY).decisions
    for number, (_, who, pool) in enumerate(asked):
        of_these = found[number * 4 : number * 4 + 4]
        assert {each.rep_id for each in of_these} == who
        assert {each.pool for each in of_these} == {pool}
    assert found[8].cause == "fallback"
    assert "language it: nobody of 2, so anyone" in found[20].path


def test_a_day_is_the_reps_own_and_its_end_makes_room() -> None:
    rules = {"v1": Rules("v1", policy(capacity={"when_full": "wait"}))}
    reps = from_beginning(rep("anna", capacity=2, time_zone="America/New_York"))
    leads = [lead(number, START + 10 * HOUR) for number in range(5)]
    found = World(rules, reps, leads=leads).deal(START + 4 * DAY).decisions
    waiting = [each for each in found if each.cause == "waiting"]
    assert len(waiting) == 3 and all(each.rep_id is None for each in waiting)
    assert "the lead waits until 2026-03-03T05:00:00Z" in waiting[0].path[-1]
    # Midnight in New York.
    dealt = [(each.lead_id, each.assigned_at) for each in found if each.rep_id is not None]
    midnight = START + DAY + 5 * HOUR
    assert [at for _, at in dealt] == [START + 10 * HOUR] * 2 + [midnight] * 2 + [midnight + DAY]
    assert [one.superseded_at for one in waiting] == [midnight, midnight, midnight + DAY]


def test_an_absence_counts_from_when_it_was_known_until_it_was_called_off() -> None:
    until = START + 10 * DAY
    absences = {"anna": [Absence(START, until, START + DAY, START + 3 * DAY)]}
    rules = {"v1": Rules("v1", policy())}
    leads = [lead(number, START + number * DAY + HOUR) for number in range(5)]
    found = World(rules, from_beginning(rep("anna")), absences, leads).deal(until).decisions
    assert [(each.lead_id, each.rep_id, (each.assigned_at - START) // HOUR) for each in found] == [
        ("lead000000", "anna", 1),
        ("lead000001", None, 25),
        ("lead000002", None, 49),
        # Called off: whoever waits need wait no longer.
        ("lead000001", "anna", 72),
        ("lead000002", "anna", 72),
        ("lead000003", "anna", 73),
        ("lead000004", "anna", 97),
    ]


def test_the_crm_has_the_last_word_and_its_turn_counts() -> None:
    rules = {"v1": Rules("v1", policy(reassign={"most": 2}))}
    reps = from_beginning(rep("anna"), rep("ben"), rep("manager", territories=frozenset()))
    leads = [lead(number, START + number * MINUTE) for number in range(2)]
    first = paths(World(rules, reps, leads=leads))
    given = "anna" if first[0][0] == "ben" else "ben"
    signals = [
        Signal(START + 5 * MINUTE, "person000000", "owner", START + 5 * MINUTE, given),
        Signal(START + 6 * MINUTE, "person000001", "owner", START + 6 * MINUTE, "manager"),
        Signal(START + 6 * MINUTE, "person000001", "owner", START + 6 * MINUTE, "a queue"),
    ]
    dealer = World(rules, reps, leads=leads, signals=signals).deal(START + 30 * DAY)
    told = [(one.lead_id, one.number, one.rep_id, one.cause) for one in dealer.decisions]
    # Nobody takes a lead from somebody a manager gave it to, however late they are.
    assert told[2:] == [
        ("lead000000", 2, given, "crm"),
        ("lead000001", 2, "manager", "crm"),
    ]
    shares = dealer.kept.shares["v1", "dach"]
    other = "anna" if given == "ben" else "ben"
    assert (shares[given].had, shares[other].had) == (1.0, 0.0)


def test_a_lead_that_does_not_come_to_the_meeting_gives_the_turn_back_once() -> None:
    rules = {"v1": Rules("v1", policy(no_show_credit=True))}
    reps = from_beginning(rep("anna"), rep("ben"))
    leads = [lead(number, START + number * DAY) for number in range(6)]
    first = paths(World(rules, reps, leads=leads))[0][0]
    missed = [
        Signal(START + HOUR, "person000000", "no_show", START + HOUR, first),
        Signal(START + 2 * HOUR, "person000000", "no_show", START + 2 * HOUR, first),
        # Somebody else's meeting.
        Signal(START + DAY + HOUR, "person000001", "no_show", START + DAY + HOUR, "manager"),
    ]
    found = paths(World(rules, reps, leads=leads, signals=missed))
    had = [who for who, _, _ in found]
    assert had.count(first) == 4 and len(had) == 6


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


def wall(at: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)).isoformat()


@pytest.mark.parametrize(
    ("time", "at", "minutes", "due"),
    [
        # Friday evening to Monday morning, over the change to summer time on Sunday.
        (("Europe/Berlin", "09:00-17:00"), "2026-03-27T16:50:00+01:00", 60, "2026-03-30T09:50:00+02:00"),
        # The night in which an hour comes twice: the shift lasts nine hours.
        (("Europe/Berlin", "22:00-06:00", (6,)), "2026-10-24T21:00:00+02:00", 9 * 60, "2026-10-25T06:00:00+01:00"),
        # The night in which one is left out: seven.
        (("Europe/Berlin", "22:00-06:00", (6,)), "2026-03-28T21:00:00+01:00", 7 * 60, "2026-03-29T06:00:00+02:00"),
        # A working day that begins in the hour that is left out.
        (("America/New_York", "02:30-10:00", (7,)), "2026-03-08T00:00:00-05:00", 30, "2026-03-08T04:00:00-04:00"),
        (("Asia/Kolkata", None), "2026-03-28T21:00:00+05:30", 90, "2026-03-28T22:30:00+05:30"),
        ((None, "09:00-17:00"), "2026-03-30T08:00:00+00:00", 30, "2026-03-30T09:30:00+00:00"),
        (("Nowhere/Town", "00:00-24:00", (1, 2, 3, 4, 5, 6, 7)), "2026-03-30T08:00:00+00:00", 3_000, "2026-04-01T10:00:00+00:00"),
    ],
)  # fmt: skip
def test_the_sla_clock_runs_while_the_rep_is_at_work(
    time: tuple[str | None, str | None], at: str, minutes: int, due: str
) -> None:
    assert wall(WorkingTime(*time).after(us(at), minutes)) == wall(us(due))


def test_the_sla_clock_stands_while_the_rep_is_known_to_be_away() -> None:
    time = WorkingTime("Europe/Berlin", "09:00-17:00")
    at = us("2026-03-02T09:00:00+01:00")
    known = Absence(us("2026-03-02T10:00:00+01:00"), us("2026-03-03T12:00:00+01:00"), ALWAYS, NEVER)
    later = Absence(us("2026-03-02T09:00:00+01:00"), us("2026-03-09T12:00:00+01:00"), at + 1, NEVER)
    assert wall(time.after(at, 90, [known, later])) == wall(us("2026-03-03T12:30:00+01:00"))
    assert away_until([known, later], at) is None
    assert away_until([known, later], us("2026-03-02T11:00:00+01:00")) == later.ends


def test_a_rep_who_changes_changes_from_then_on() -> None:
    """Nobody's earlier lead moves because somebody joined, left or got another weight."""
    rules = {"v1": Rules("v1", policy())}
    leads = [lead(number, START + number * MINUTE) for number in range(60)]
    before = from_beginning(rep("anna"), rep("ben"))
    changes = [
        RepChange(START + 20 * MINUTE, rep("carl")),
        RepChange(START + 40 * MINUTE, rep("anna", is_active=False)),
    ]
    found = [who for who, _, _ in paths(World(rules, before + changes, leads=leads))]
    assert found[:20] == [who for who, _, _ in paths(World(rules, before, leads=leads))][:20]
    assert set(found[20:40]) == {"anna", "ben", "carl"}
    assert set(found[40:]) == {"ben", "carl"}
