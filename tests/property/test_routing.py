"""Routing as a function of what became known: fair to less than a lead, the same in bulk as one by one, and going on gives what beginning
anew gives."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from random import Random

import pytest

from models.routing.dealer import Dealer
from models.routing.directory import RepChange
from models.routing.fair_share import next_in_turn
from models.routing.leads import Decision, NewLead
from models.routing.rules import Rules
from models.routing.working_time import ALWAYS, DAY, MINUTE, NEVER, Absence
from tests.property.routing_worlds import (
    HOUR,
    START,
    World,
    draw,
    from_beginning,
    lead,
    policy,
    rep,
    told,
)

WEIGHTS = ([1.0], [1.0, 1.0], [10.0, *[1.0] * 10], [0.3, 1.7, 2.5, 0.01], [1.0] * 40)


def route(world: World, until: int = START + 365 * DAY) -> list[Decision]:
    return world.deal(until).decisions


def furthest_off(reps: list[str | None], weights: dict[str, float]) -> float:
    """How far any rep ever was from their share of the leads so far."""
    had: Counter[str | None] = Counter()
    worst = 0.0
    total = sum(weights.values())
    for turn, who in enumerate(reps, start=1):
        had[who] += 1
        worst = max(
            worst,
            *(abs(had[each] - turn * weight / total) for each, weight in weights.items()),
        )
    return worst


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_every_rep_has_had_its_share_to_one_lead_after_every_lead(weights: list[float]) -> None:
    shares = {f"rep{number}": weight for number, weight in enumerate(weights)}
    reps = from_beginning(*(rep(name, weight=weight) for name, weight in shares.items()))
    leads = [lead(number, START + number) for number in range(3_000)]
    found = route(World({"v1": Rules("v1", policy())}, reps, leads=leads))
    assert len(found) == len(leads)
    assert furthest_off([each.rep_id for each in found], shares) <= 1 + 1e-6


def test_the_largest_share_first_would_be_several_leads_off() -> None:
    """The control: the customary rule, whoever has the least per weight, is not fair to a lead."""
    weights = {f"rep{number}": weight for number, weight in enumerate([10.0, *[1.0] * 10])}
    had: Counter[str] = Counter()
    dealt: list[str | None] = []
    for _ in range(3_000):
        who = min(weights, key=lambda each: ((had[each] + 1) / weights[each], each))
        had[who] += 1
        dealt.append(who)
    assert furthest_off(dealt, weights) > 3


def test_ten_thousand_at_once_are_spread_as_ten_thousand_one_by_one() -> None:
    reps = from_beginning(*(rep(f"rep{n}", weight=w) for n, w in enumerate([1.0, 0.5, 2.0, 1.0])))
    rules = {"v1": Rules("v1", policy())}
    at_once = [lead(number, START) for number in range(10_000)]
    Random(5).shuffle(at_once)
    one_by_one = [lead(number, START + number * MINUTE) for number in range(10_000)]
    bulk = route(World(rules, reps, leads=at_once))
    singly = route(World(rules, reps, leads=one_by_one))
    assert [each.rep_id for each in bulk] == [each.rep_id for each in singly]
    assert [each.person_id for each in bulk] == [each.person_id for each in singly]


@pytest.mark.parametrize("seed", range(40))
def test_going_on_gives_what_dealing_everything_anew_gives(seed: int) -> None:
    world = draw(seed)
    end = START + 14 * DAY
    whole = world.deal(end)
    rng = Random(seed)
    instants = sorted(START + rng.randrange(13 * DAY) for _ in range(6))
    decisions: list[Decision] = []
    kept, after = None, ALWAYS
    for until in [*instants, end]:
        part = world.deal(until, after, None if kept is None else deepcopy(kept))
        decisions += part.decisions
        kept, after = part.kept, until
    assert told(decisions) == told(whole.decisions)
    assert kept is not None
    assert kept.shares == whole.kept.shares
    assert kept.turns == whole.kept.turns
    assert kept.loads == whole.kept.loads
    assert len(whole.decisions) >= len(world.leads)


@pytest.mark.parametrize("seed", range(40, 60))
def test_what_is_known_is_dealt_the_same_in_whatever_order_it_is_told(seed: int) -> None:
    world = draw(seed)
    first = told(route(world))
    rng = Random(seed)
    for told_in_some_order in (world.leads, world.signals, world.changes):
        rng.shuffle(told_in_some_order)
    assert told(route(world)) == first


def test_some_worlds_have_everything_that_can_be_decided() -> None:
    """The control of the two above: what they compare is not all of one kind."""
    causes: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for seed in range(40):
        for each in route(draw(seed)):
            causes[each.cause] += 1
            words.update(
                word for word in ("away", "full_day", "full_open", "off_hours", "not_in_turn", "had_it") if word in each.passed_over
            )  # fmt: skip
    assert set(causes) == {
        "account_owner", "relationship", "pool", "fallback", "waiting", "unassigned", "breach", "crm",
    }  # fmt: skip
    assert len(words) == 6, words


def test_whoever_joins_or_comes_back_is_owed_nothing() -> None:
    """Calibration: shares are of the leads that came while one was there."""
    reps = [
        *from_beginning(rep("anna"), rep("ben"), rep("carl")),
        RepChange(START + 300 * MINUTE, rep("dora")),
    ]
    absences = {"ben": [Absence(START + 600 * MINUTE, START + 900 * MINUTE, ALWAYS, NEVER)]}
    leads = [lead(number, START + number * MINUTE) for number in range(1_200)]
    found = route(World({"v1": Rules("v1", policy())}, reps, absences, leads))
    spans = {
        (0, 300): {"anna": 1, "ben": 1, "carl": 1},
        (300, 600): {"anna": 1, "ben": 1, "carl": 1, "dora": 1},
        (600, 900): {"anna": 1, "carl": 1, "dora": 1},
        (900, 1_200): {"anna": 1, "ben": 1, "carl": 1, "dora": 1},
    }
    for (first, last), there in spans.items():
        had = Counter(each.rep_id for each in found[first:last])
        assert set(had) == set(there)
        for name in there:
            # A lead may be owed from before, and one to what comes.
            assert abs(had[name] - (last - first) / len(there)) <= 2, (first, had)


def test_with_shares_over_everybody_whoever_was_away_is_owed_the_leads() -> None:
    absences = {"ben": [Absence(START, START + 200 * MINUTE, ALWAYS, NEVER)]}
    leads = [lead(number, START + number * MINUTE) for number in range(400)]
    rules = {"v1": Rules("v1", policy(shares_over="everybody"))}
    found = route(World(rules, from_beginning(rep("anna"), rep("ben")), absences, leads))
    had = Counter(each.rep_id for each in found)
    assert abs(had["anna"] - had["ben"]) <= 2
    assert Counter(each.rep_id for each in found[:200]) == {"anna": 200}


def test_reassigning_keeps_shares_fair() -> None:
    rules = {"v1": Rules("v1", policy(reassign={"most": 1}))}
    reps = from_beginning(*(rep(f"rep{number}") for number in range(5)))
    # Nobody answers anything.
    leads = [lead(number, START + number * 10 * MINUTE) for number in range(2_000)]
    found = route(World(rules, reps, leads=leads))
    assert Counter(each.cause for each in found) == {"pool": 2_000, "breach": 2_000}
    for number in (1, 2):
        had = Counter(each.rep_id for each in found if each.number == number)
        assert max(had.values()) - min(had.values()) <= 400 * 0.1
    assert max(Counter(each.rep_id for each in found).values()) - 800 <= 2
    former = {each.lead_id: each for each in found if each.number == 1}
    for again in (each for each in found if each.number == 2):
        before = former[again.lead_id]
        assert again.rep_id != before.rep_id
        assert again.assigned_at == before.due_at == before.superseded_at


def test_a_turn_is_nobodys_who_may_not_take_it() -> None:
    """Against a plain oracle: of those that may take the turn, whoever is owed it soonest, by trying every further turn."""
    rng = Random(3)
    for _ in range(300):
        count = rng.randrange(2, 7)
        weights = [rng.choice([0.5, 1.0, 2.0, 3.0]) for _ in range(count)]
        turns = rng.randrange(0, 40)
        rates = [weight / sum(weights) for weight in weights]
        had = [0.0] * count
        for turn in range(turns):
            place, _ = next_in_turn(weights, [turn * rate for rate in rates], had)
            assert had[place] < (turn + 1) * rates[place], "had more than their share already"
            had[place] += 1
        entitled = [turns * rate for rate in rates]
        place, left = next_in_turn(weights, entitled, had)
        scale = 2 * count - 2

        must = [
            next(
                further
                for further in range(1_000)
                if entitled[m] + (further + 1) * rates[m] >= had[m] + 1 - 1 / scale - 1e-9
            )
            for m in range(count)
        ]
        due = [m for m in range(count) if entitled[m] + rates[m] >= had[m] + 1 / scale - 1e-9]
        assert place in due
        assert must[place] == min(must[member] for member in due)
        assert left[place] <= must[place]


def test_the_owner_the_crm_confirmed_stands_when_history_changes() -> None:
    """A lead that vanishes, as a merge makes it, would deal every later one anew; what the CRM was told stays."""
    from models.routing.leads import Written

    rules = {"v1": Rules("v1", policy())}
    reps = from_beginning(rep("anna"), rep("ben"), rep("carl", weight=2.0))
    leads = [lead(number, START + number * MINUTE) for number in range(50)]
    before = {each.lead_id: each.rep_id for each in route(World(rules, reps, leads=leads))}
    without = [each for each in leads if each.lead_id != "lead000003"]
    again = {each.lead_id: each.rep_id for each in route(World(rules, reps, leads=without))}
    assert any(before[lead_id] != who for lead_id, who in again.items()), "the control"

    def confirmed(each: NewLead) -> NewLead:
        who = before[each.lead_id]
        assert who is not None
        return lead(int(each.lead_id[4:]), each.at, written=(Written(1, who, each.at + HOUR),))

    dealer: Dealer = World(rules, reps, leads=[confirmed(each) for each in without]).deal(START + DAY)  # fmt: skip
    assert {each.lead_id: each.rep_id for each in dealer.decisions} == {
        lead_id: who for lead_id, who in before.items() if lead_id != "lead000003"
    }
    assert len(dealer.decisions) == 49
