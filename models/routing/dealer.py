"""Deals leads to reps, one after the other in the order in which things became known; the rules stand in rules.py, whose turn it is in
pools.py.

What comes out is a pure function of what goes in: leads, signals, reps over time, policies and an instant. Going on from what was kept gives
what dealing everything anew gives, as long as nothing comes that was known before.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter

from models.routing.directory import Directory, Rep, RepChange
from models.routing.leads import (
    Cause,
    Decision,
    Kept,
    KeptLead,
    Load,
    NewLead,
    Signal,
    Written,
)
from models.routing.pools import Picked, Pool, Pools, as_json, iso
from models.routing.rules import Rules
from models.routing.working_time import ALWAYS, MINUTE, NEVER, Absence, away_until

_Timer = tuple[int, str, str, int]
_in_order = attrgetter("order")


class Dealer:
    """One pass over what became known."""

    def __init__(
        self,
        rules: Mapping[str, Rules],
        changes: Sequence[RepChange],
        absences: Mapping[str, Sequence[Absence]] | None = None,
        kept: Kept | None = None,
    ) -> None:
        """`rules` by version; `changes` of all reps, whenever known. With `kept` what was dealt until then is gone on from."""
        self.rules = rules
        self.kept = kept or Kept(through=ALWAYS)
        self.decisions: list[Decision] = []
        self._directory = Directory(absences)
        ordered = sorted(changes, key=lambda change: (change.at, change.rep.rep_id))
        self._directory.apply(change for change in ordered if change.at <= self.kept.through)
        self._changes = [change for change in ordered if change.at > self.kept.through]
        self._pools = Pools(rules, self._directory, self.kept)
        self._timers: list[_Timer] = []
        self._unserved: list[KeptLead] = []
        self._wakes: set[int] = set()
        self._has_room = False
        self._latest: dict[str, KeptLead] = {}
        self._last: dict[str, Decision] = {}
        self._answered: dict[str, int] = {}
        # An absence that is called off: whoever waits for the rep need wait no longer.
        for known_to in {each.known_to for each in chain(*(absences or {}).values())}:
            if self.kept.through < known_to < NEVER:
                heapq.heappush(self._timers, (known_to, "called_off", "", 0))
        for lead in sorted(self.kept.leads.values(), key=_in_order):
            self._latest[lead.person_id] = lead
            if lead.timer_at is not None:
                heapq.heappush(self._timers, (lead.timer_at, "breach", lead.lead_id, lead.number))
            if lead.is_waiting:
                self._wait_again(lead)

    def deal(self, leads: Iterable[NewLead], signals: Iterable[Signal], until: int) -> None:
        """Take in what became known since, in any order; timers run up to `until`, or the last thing known when that is later."""
        fresh = []
        for signal in signals:
            if signal.at > self.kept.through:
                fresh.append(signal)
            else:
                self._remember(signal)
        stimuli: list[RepChange | Signal | NewLead] = [*self._changes, *fresh, *leads]
        self._changes = []
        for stimulus in sorted(stimuli, key=_order):
            at = stimulus.at
            # What is known at an instant counts for what is due at it; leads come after both.
            self._run_timers(at, is_before=not isinstance(stimulus, NewLead))
            self.kept.through = max(self.kept.through, at)
            if isinstance(stimulus, NewLead):
                self._take(stimulus)
            elif isinstance(stimulus, Signal):
                self._hear(stimulus)
            else:
                self._directory.apply((stimulus,))
                self._has_room = True
            self._fill_room(at)
        self._run_timers(until, is_before=False)

    # ---- a new lead ------------------------------------------------------------------------------

    def _take(self, new: NewLead) -> None:
        rules = self.rules[new.version]
        before = self._latest.get(new.person_id)
        if before is not None:
            self._close(before)
        placed = self._pools.place(rules, new)
        lead = KeptLead(
            lead_id=new.lead_id,
            person_id=new.person_id,
            version=new.version,
            known_at=new.at,
            reached_at=new.reached_at,
            facts_hash=new.facts_hash,
            territory=placed.territory,
            pool=placed.pool,
            sla_minutes=rules.sla_minutes(new.grade),
            written={each.number: each for each in new.written},
        )
        if new.is_erased:
            if new.told_rep is not None:
                lead.written = {1: Written(1, new.told_rep, new.at)}
        else:
            self.kept.leads[lead.lead_id] = lead
            self._latest[lead.person_id] = lead
        for each in new.written:
            heapq.heappush(self._timers, (each.at, "written", lead.lead_id, each.number))
        path: tuple[str, ...] = ()
        for claim in () if new.is_erased else rules.policy.owners:
            rep_id = (
                new.account_owner
                if claim == "account_owner"
                else new.relationship or (before.rep_id if before is not None else None)
            )
            rep, words = self._claimed(rules, claim, rep_id, new.at)
            path += (words,)
            if rep is not None:
                self._assign(lead, rep, claim, path, new.at)
                break
        else:
            if new.is_erased and new.told_rep is not None and new.told_pool is None:
                # Somebody had a claim to them: no turn, but work of a day.
                if new.told_rep in self._directory.reps:
                    self._pools.count(rules, self._directory.reps[new.told_rep], new.at)
                return
            self._deal(lead, path + placed.path, new.at)
        # What was imported as history was answered before we knew of it.
        if self._answered.get(new.person_id, ALWAYS) >= new.reached_at and not new.is_erased:
            self._close(lead)

    def _claimed(
        self, rules: Rules, claim: Cause, rep_id: str | None, at: int
    ) -> tuple[Rep | None, str]:
        """Who has a claim and may take the lead, and the words for it."""
        whose = "account owner" if claim == "account_owner" else "existing relationship"
        if rep_id is None:
            return None, f"{whose}: nobody"
        rep = self._directory.reps.get(rep_id)
        if rep is None or not rules.takes_leads(rep):
            return None, f"{whose}: somebody who takes no leads"
        until = away_until(self._directory.absences(rep_id), at)
        if until is not None:
            return None, f"{whose}: out of office until {iso(until)}"
        return rep, f"{whose}: {rep.name}"

    # ---- turns -----------------------------------------------------------------------------------

    def _deal(self, lead: KeptLead, path: tuple[str, ...], at: int) -> None:
        """The next turn of the lead's pool; nobody's, and it waits."""
        rules = self.rules[lead.version]
        pool = None if lead.pool is None else self._pools.pool(lead.version, lead.pool)
        if pool is None or not pool.seats:
            self._fall_back(lead, path, at, "nobody serves the territory")
            return
        picked = self._pools.pick(rules, pool, at, lead.tried)
        if picked.seat is None and lead.number + 1 not in lead.written:
            if rules.policy.nobody_available == "fallback" and self._fallback(rules) is not None:
                self._fall_back(lead, path, at, "nobody of the pool is available")
                return
            if lead.lead_id not in self.kept.leads:
                return
            insort(pool.waiting, lead, key=_in_order)
            until = f" until {iso(picked.until)}" if picked.until is not None else ""
            words = "; ".join((*picked.notes, f"nobody is available: the lead waits{until}"))
            self._hold(lead, "waiting", (*path, words), at, path)
            self._wake_at(picked.until)
            return
        self._take_turn(lead, pool, picked, path, "pool", at)

    def _take_turn(
        self,
        lead: KeptLead,
        pool: Pool,
        picked: Picked,
        path: tuple[str, ...],
        cause: Cause,
        at: int,
    ) -> None:
        """Give the turn to whose it is, or to whom it was given before."""
        written = self._written(lead)
        seat = picked.seat
        rep = written or (seat.rep if seat is not None else None)
        assert rep is not None
        words: tuple[str, ...] = picked.notes
        if seat is not None:
            total = sum(each.weight for each in picked.taking)
            words += (
                f"pool of {len(picked.taking)} by weight: turn {pool.turns + 1} is {seat.rep.name} "
                f"(share {round(100 * seat.weight / total)}%)",
            )
        if seat is None or rep.rep_id != seat.rep.rep_id:
            cause = "confirmed"
            # One name is told, that of who has the lead.
            words = (_confirmed(rep),)
        if any(each.rep.rep_id == rep.rep_id for each in pool.seats):
            sharing = picked.sharing or pool.seats
            total = sum(each.weight for each in sharing)
            for each in sharing:
                pool.shares[each.rep.rep_id].entitled += each.weight / total
            pool.shares[rep.rep_id].had += 1
            pool.turns += 1
            lead.has_turn = True
        passed = {key: told for key, told in picked.passed_over.items() if key != rep.rep_id}
        self._assign(lead, rep, cause, path + words, at, as_json(passed))

    # ---- outcomes --------------------------------------------------------------------------------

    def _assign(
        self,
        lead: KeptLead,
        rep: Rep,
        cause: Cause,
        path: tuple[str, ...],
        at: int,
        passed_over: str = "[]",
    ) -> None:
        rules = self.rules[lead.version]
        written = self._written(lead)
        if written is not None and written.rep_id != rep.rep_id and cause != "crm":
            rep, cause = written, "confirmed"
            path = (*path[:-1], _confirmed(rep))
        absences = self._directory.absences(rep.rep_id)
        is_business = rules.policy.sla_clock == "business_hours"
        due = (
            rules.time(rep).after(at, lead.sla_minutes, absences)
            if is_business
            else at + lead.sla_minutes * MINUTE
        )
        lead.is_waiting, lead.path = False, ()
        lead.rep_id, lead.cause, lead.assigned_at, lead.due_at = rep.rep_id, cause, at, due
        lead.is_answered = lead.is_credited = False
        lead.timer_at = self._timer(rules, lead)
        if lead.timer_at is not None:
            heapq.heappush(self._timers, (lead.timer_at, "breach", lead.lead_id, lead.number + 1))
        self._pools.count(rules, rep, at).open_count += 1
        self._decide(lead, path, passed_over)

    def _timer(self, rules: Rules, lead: KeptLead) -> int | None:
        again = rules.policy.reassign
        if again is None or lead.cause in ("crm", "fallback") or lead.reassigned >= again.most:
            return None
        if lead.cause in ("account_owner", "relationship") and not again.from_owners:
            return None
        return lead.due_at + again.grace_minutes * MINUTE

    def _fall_back(self, lead: KeptLead, path: tuple[str, ...], at: int, why: str) -> None:
        rules = self.rules[lead.version]
        rep = self._fallback(rules)
        if rep is not None:
            self._assign(lead, rep, "fallback", (*path, f"{why}: fallback {rep.name}"), at)
            return
        written = self._written(lead)
        if written is not None:
            self._assign(lead, written, "confirmed", (*path, _confirmed(written)), at)
            return
        if lead.lead_id not in self.kept.leads:
            return
        insort(self._unserved, lead, key=_in_order)
        words = f"{why} and no fallback is set: unassigned"
        self._hold(lead, "unassigned", (*path, words), at, path)

    def _hold(
        self, lead: KeptLead, cause: Cause, path: tuple[str, ...], at: int, placed: tuple[str, ...]
    ) -> None:
        """Nobody has it yet. Said once: a lead that goes on waiting is no news."""
        lead.cause = cause
        if lead.is_waiting:
            return
        lead.is_waiting, lead.path, lead.rep_id = True, placed, None
        lead.assigned_at, lead.due_at = at, at + lead.sla_minutes * MINUTE
        self._decide(lead, path, "[]")

    def _decide(self, lead: KeptLead, path: tuple[str, ...], passed_over: str) -> None:
        lead.number += 1
        self.kept.through = max(self.kept.through, lead.assigned_at)
        if (before := self._last.get(lead.lead_id)) is not None:
            before.superseded_at = lead.assigned_at
        if lead.lead_id not in self.kept.leads:
            return
        decision = Decision(
            lead_id=lead.lead_id,
            person_id=lead.person_id,
            version=lead.version,
            number=lead.number,
            rep_id=lead.rep_id,
            territory=lead.territory,
            pool=lead.pool,
            cause=lead.cause,
            path=path,
            passed_over=passed_over,
            sla_minutes=lead.sla_minutes,
            assigned_at=lead.assigned_at,
            due_at=lead.due_at,
        )
        self._last[lead.lead_id] = decision
        self.decisions.append(decision)

    # ---- what follows ----------------------------------------------------------------------------

    def _hear(self, signal: Signal) -> None:
        self._remember(signal)
        lead = self._latest.get(signal.person_id)
        if lead is None:
            return
        if signal.kind == "touched":
            if signal.occurred_at >= lead.assigned_at and lead.rep_id is not None:
                lead.timer_at = None
        elif signal.kind == "answered":
            if signal.occurred_at >= lead.reached_at:
                self._close(lead)
        elif signal.kind == "no_show":
            self._credit(lead, signal)
        elif signal.rep_id is not None and signal.rep_id != lead.rep_id:
            self._hand_over(lead, signal)

    def _remember(self, signal: Signal) -> None:
        if signal.kind == "answered":
            before = self._answered.get(signal.person_id, ALWAYS)
            self._answered[signal.person_id] = max(before, signal.occurred_at)

    def _close(self, lead: KeptLead) -> None:
        """Sales has said what it thinks of it, or the person is a new lead."""
        lead.timer_at = None
        if lead.rep_id is not None and not lead.is_answered:
            self._free(lead.rep_id)
        if lead.is_waiting:
            self._stop_waiting(lead)
        lead.is_answered = True

    def _free(self, rep_id: str) -> None:
        """One lead less that sales has not answered: somebody who waits may have it."""
        load = self.kept.loads.setdefault(rep_id, Load())
        load.open_count = max(0, load.open_count - 1)
        self._has_room = True

    def _credit(self, lead: KeptLead, signal: Signal) -> None:
        rules = self.rules[lead.version]
        if not rules.policy.no_show_credit or lead.is_credited or not lead.has_turn:
            return
        if lead.rep_id != (signal.rep_id or lead.rep_id) or signal.occurred_at < lead.known_at:
            return
        shares = self._pools.pool(lead.version, lead.pool or "").shares
        if lead.rep_id in shares:
            lead.is_credited = True
            shares[lead.rep_id].had -= 1

    def _hand_over(self, lead: KeptLead, signal: Signal) -> None:
        """Somebody gave the lead to another rep in the CRM: theirs it is, and the turn counts for them."""
        rep = self._directory.reps.get(signal.rep_id or "")
        if rep is None:
            return
        former, was_answered = lead.rep_id, lead.is_answered
        self._close(lead)
        if lead.has_turn and lead.pool is not None:
            shares = self._pools.pool(lead.version, lead.pool).shares
            if former in shares:
                shares[former].had -= 1
            if rep.rep_id in shares:
                shares[rep.rep_id].had += 1
        self._assign(lead, rep, "crm", (f"given to {rep.name} in the CRM",), signal.at)
        if was_answered:
            self._close(lead)

    def _run_timers(self, until: int, *, is_before: bool) -> None:
        """Run what is due at `until` too, unless something else known at that instant comes before it."""
        while self._timers and (
            self._timers[0][0] < until if is_before else self._timers[0][0] <= until
        ):
            at, kind, lead_id, number = heapq.heappop(self._timers)
            if kind in ("called_off", "wake"):
                self._wakes.discard(at)
                self._try_waiting(at)
                continue
            lead = self.kept.leads.get(lead_id)
            if lead is None:
                continue
            if kind == "written":
                self._stand(lead, lead.written[number], at)
            elif lead.timer_at == at and lead.number == number:
                self._reassign(lead, at)
            self._fill_room(at)

    def _stand(self, lead: KeptLead, written: Written, at: int) -> None:
        """What was written to the CRM stands, also where these rules would have made no such decision."""
        rep = self._directory.reps.get(written.rep_id)
        if rep is None or lead.number >= written.number or lead.rep_id == rep.rep_id:
            return
        lead.number = written.number - 1
        self._assign(lead, rep, "confirmed", (_confirmed(rep),), at)

    def _reassign(self, lead: KeptLead, at: int) -> None:
        lead.timer_at = None
        rules = self.rules[lead.version]
        if lead.pool is None or lead.rep_id is None:
            return
        pool = self._pools.pool(lead.version, lead.pool)
        tried = (*lead.tried, lead.rep_id)
        picked = self._pools.pick(rules, pool, at, tried)
        if picked.seat is None and lead.number + 1 not in lead.written:
            return
        self._free(lead.rep_id)
        lead.tried, lead.reassigned = tried, lead.reassigned + 1
        words = (f"no first touch by {iso(lead.due_at)}: to another rep",)
        self._take_turn(lead, pool, picked, words, "breach", at)

    # ---- waiting ---------------------------------------------------------------------------------

    def _try_waiting(self, at: int) -> None:
        """Whoever waits, once more, in the order in which they came: somebody may have come or have room."""
        queues = [self._unserved, *(pool.waiting for pool in self._pools.known())]
        waiting = sorted(chain(*queues), key=_in_order)
        for queue in queues:
            queue.clear()
        blocked: set[tuple[str, str | None]] = set()
        for lead in waiting:
            if lead.pool is None:
                self._place_again(lead)
            key = (lead.version, lead.pool)
            if key in blocked:
                # Nor is there anybody for those behind.
                if lead.cause == "unassigned":
                    self._unserved.append(lead)
                else:
                    self._pools.pool(lead.version, lead.pool or "").waiting.append(lead)
                continue
            self._deal(lead, lead.path, at)
            if lead.is_waiting:
                blocked.add(key)

    def _fill_room(self, at: int) -> None:
        if self._has_room:
            self._has_room = False
            self._try_waiting(at)

    def _wake_at(self, until: int | None) -> None:
        """Look at who waits when somebody may be back."""
        if until is not None and until not in self._wakes:
            self._wakes.add(until)
            heapq.heappush(self._timers, (until, "wake", "", 0))

    def _place_again(self, lead: KeptLead) -> None:
        """Somebody may have taken a seat in the territory since."""
        if self._pools.seats_in(self.rules[lead.version], lead.territory):
            lead.pool = lead.territory

    def _wait_again(self, lead: KeptLead) -> None:
        if lead.cause == "unassigned":
            self._unserved.append(lead)
            return
        pool = self._pools.pool(lead.version, lead.pool or "")
        pool.waiting.append(lead)
        picked = self._pools.pick(self.rules[lead.version], pool, self.kept.through, lead.tried)
        self._wake_at(picked.until)

    def _stop_waiting(self, lead: KeptLead) -> None:
        lead.is_waiting = False
        for queue in (self._unserved, self._pools.pool(lead.version, lead.pool or "").waiting):
            if lead in queue:
                queue.remove(lead)

    def _fallback(self, rules: Rules) -> Rep | None:
        return self._directory.of_email(rules.policy.fallback_rep_email)

    def _written(self, lead: KeptLead) -> Rep | None:
        """Whom the CRM was told, and confirmed, for the decision that is next."""
        written = lead.written.get(lead.number + 1)
        return None if written is None else self._directory.reps.get(written.rep_id)

    def finish(self) -> Kept:
        """What to go on from."""
        for pool in self._pools.known():
            self.kept.turns[pool.version, pool.name] = pool.turns
        return self.kept


def _confirmed(rep: Rep) -> str:
    return f"stands as confirmed in the CRM: {rep.name}"


def _order(stimulus: RepChange | Signal | NewLead) -> tuple[int, int, str, int, str]:
    """Of what became known at one instant first who the reps are, then what is said of people, then leads."""
    if isinstance(stimulus, NewLead):
        return stimulus.at, 2, stimulus.person_id, stimulus.reached_at, stimulus.lead_id
    if isinstance(stimulus, Signal):
        told = f"{stimulus.kind}/{stimulus.rep_id}"
        return stimulus.at, 1, stimulus.person_id, stimulus.occurred_at, told
    return stimulus.at, 0, stimulus.rep.rep_id, 0, ""
