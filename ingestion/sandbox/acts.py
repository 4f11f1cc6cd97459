"""What a persona can be made to do: how the systems' records change, and which webhooks are sent."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ingestion.sandbox.live import NOTICE_VERSION, form_body
from ingestion.sandbox.personas import AGREED, PERSONAS, Persona
from ingestion.sandbox.spelling import phone_text
from ingestion.sandbox.stage import Stage
from ingestion.sandbox.webhook_sender import Sender

PORTAL_ID = 62_515
APP_ID = 1_160_452


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `option` names its one argument, `choices` the values (empty: any text), the
    first of which is the default."""

    label: str
    does: str
    option: str = ""
    choices: tuple[str, ...] = ()


ACTIONS: dict[str, Action] = {
    "visit": Action(
        "Visit a page", "an event occurrence in HubSpot, found by the next poll", "page",
        ("/pricing", "/demo", "/blog/lead-scoring-in-practice"),
    ),
    "open_email": Action("Open an e-mail", "an event occurrence in HubSpot"),
    "click_email": Action("Click in an e-mail", "an event occurrence in HubSpot"),
    "attend_webinar": Action("Attend the webinar", "an event occurrence in HubSpot"),
    "submit_form": Action(
        "Submit a form", "a signed webhook of the web site", "form",
        ("demo_request", "contact_sales", "ebook_download", "newsletter"),
    ),
    "book_meeting": Action("Book a meeting", "an event in a rep's calendar, found by the next poll"),
    "change_job": Action(
        "Change job", "a property change in HubSpot and its webhook", "job_title",
        ("Chief Operating Officer", "Consultant"),
    ),
    "withdraw_consent": Action(
        "Withdraw consent", "the web site's preferences form and HubSpot's opt-out, with webhooks"
    ),
    "give_consent": Action(
        "Give consent", "the web site's preferences form and HubSpot's opt-in, with webhooks"
    ),
    "merge": Action("Merge the contacts", "a third contact in HubSpot, and the webhook of the merge"),
}  # fmt: skip
_PAGES = {"demo_request": "/demo", "contact_sales": "/contact", "email_preferences": "/preferences"}
_EVENTS = {
    "open_email": ("email_open", "nurture"),
    "click_email": ("email_click", "/blog"),
    "attend_webinar": ("webinar_attend", "speed-to-lead"),
}


class ActRefused(ValueError):
    """An act that cannot be done; `is_unknown` when there is no such persona. The message says what
    can be."""

    def __init__(self, message: str, is_unknown: bool = False) -> None:
        """`message` names the value and the remedy."""
        super().__init__(message)
        self.is_unknown = is_unknown


@dataclass(frozen=True, slots=True)
class _Act:
    number: int
    at: datetime
    persona: Persona
    action: str
    option: str


@dataclass(frozen=True, slots=True)
class _Webhook:
    system: str
    type: str
    body: Any


class Acts:
    """Does what is asked, and remembers it: a restarted sandbox stands where it stood."""

    def __init__(
        self,
        stage: Stage,
        sender: Sender,
        world_key: str,
        state_path: Path | None,
        clock: Callable[[], datetime],
    ) -> None:
        """Does again to `stage` what `state_path` remembers; nothing is sent again."""
        self.stage = stage
        self._sender = sender
        self._world_key = world_key
        self._clock = clock
        self._database = sqlite3.connect(
            state_path or ":memory:", check_same_thread=False, isolation_level=None
        )
        self._database.execute("pragma busy_timeout = 10000")
        self._database.execute(
            "create table if not exists persona_acts (world text not null, number integer not null, "
            "at text not null, persona text not null, action text not null, option text not null, "
            "primary key (world, number)) without rowid"
        )
        known = {each.name: each for each in PERSONAS}
        for number, at, name, action, option in self._database.execute(
            "select number, at, persona, action, option from persona_acts where world = ? "
            "order by number",
            (world_key,),
        ).fetchall():
            self._do(_Act(number, datetime.fromisoformat(at), known[name], action, option))

    def close(self) -> None:
        """Closes the state file."""
        self._database.close()

    def reset(self) -> None:
        """Nobody has done anything."""
        self._database.execute("delete from persona_acts where world = ?", (self._world_key,))
        self.stage.restore()

    def history(self, name: str | None = None) -> list[dict[str, Any]]:
        """What was done so far, oldest first; of one persona if named."""
        return [
            {"number": number, "at": at, "persona": persona, "action": action, "option": option}
            for number, at, persona, action, option in self._database.execute(
                "select number, at, persona, action, option from persona_acts where world = ? "
                "and persona = coalesce(?, persona) order by number",
                (self._world_key, name),
            )
        ]

    def act(self, name: str, action: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Lets a persona do something; ActRefused when it cannot.

        Returns what changed in the systems and the ids of the webhooks that were queued.
        """
        who = next((each for each in PERSONAS if each.name == name), None)
        if who is None:
            known = ", ".join(each.name for each in PERSONAS)
            raise ActRefused(f"unknown persona {name!r:.80}; known: {known}", is_unknown=True)
        option = _checked(who, action, options)
        if action == "merge" and len(self.stage.contacts_of(who.person)) < 2:
            raise ActRefused(
                f"{name!r} has one contact in HubSpot, there is nothing to merge; POST /sandbox/reset "
                "brings the duplicate back"
            )
        [(number,)] = self._database.execute(
            "insert into persona_acts select ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? "
            "from persona_acts where world = ? returning number",
            (self._world_key, (at := self._clock().astimezone(UTC)).isoformat(), name, action,
             option, self._world_key),
        ).fetchall()  # fmt: skip
        act = _Act(number, at, who, action, option)
        changes, webhooks = self._do(act)
        ids: list[str] = []
        for webhook in webhooks:
            key = f"{self._world_key}|{at.isoformat()}|{number}|{webhook.system}|{len(ids)}"
            message_id = "msg_" + hashlib.sha256(key.encode()).hexdigest()[:27]
            body = orjson.dumps(webhook.body)
            self._sender.send(message_id, webhook.system, name, action, webhook.type, body)
            ids.append(message_id)
        return {
            "persona": name,
            "action": action,
            "option": option or None,
            "at": at.isoformat(),
            "changes": changes,
            "webhooks": ids,
        }

    # ---- effects --------------------------------------------------------------------------------

    def _do(self, act: _Act) -> tuple[list[str], list[_Webhook]]:
        """Changes the records; says how, and which webhooks go with it."""
        person = act.persona.person
        contacts = self.stage.contacts_of(person)
        key = f"{self._world_key}|{act.number}"
        match act.action:
            case "visit" | "open_email" | "click_email" | "attend_webinar":
                kind, detail = _EVENTS.get(act.action, ("page_view", act.option))
                event = self.stage.add_event(contacts[-1], kind, detail, act.at, key)
                return [f"hubspot: event {event} of contact {contacts[-1]['id']}"], []
            case "submit_form":
                return [], [_form(act, act.option, _box(act.persona))]
            case "book_meeting":
                rep, starts_at = self.stage.book(person, person.email, act.at, key)
                return [f"calendar: {rep.name}, {starts_at.isoformat()}"], []
            case "change_job":
                return self._change(act, {"jobtitle": act.option})
            case "withdraw_consent" | "give_consent":
                gives = act.action == "give_consent"
                properties = {"hs_email_optout": "false" if gives else "true"}
                if gives:
                    properties["hs_legal_basis"] = AGREED
                changes, told = self._change(act, properties)
                return changes, [_form(act, "email_preferences", gives), *told]
            case _:
                primary, other = contacts[:2]
                new_id = self.stage.merge_contacts(primary, other, act.at)
                merged = _notification(act, 0, "contact.merge") | {
                    "primaryObjectId": int(primary["id"]),
                    "mergedObjectIds": [int(other["id"])],
                    "newObjectId": int(new_id),
                    "numberOfPropertiesMoved": 0,
                }
                changes = [f"hubspot: contacts {primary['id']} and {other['id']} are {new_id}"]
                return changes, [_Webhook("hubspot", "contact.merge", [merged])]

    def _change(self, act: _Act, properties: dict[str, str]) -> tuple[list[str], list[_Webhook]]:
        contacts = self.stage.contacts_of(act.persona.person)
        changes: list[str] = []
        notifications: list[dict[str, Any]] = []
        for contact in contacts:
            self.stage.change_contact(contact, properties, act.at)
            for name, value in properties.items():
                changes.append(f"hubspot: contact {contact['id']}: {name} = {value}")
                notifications.append(
                    _notification(act, len(notifications), "contact.propertyChange")
                    | {
                        "objectId": int(contact["id"]),
                        "propertyName": name,
                        "propertyValue": value,
                        "changeSource": "CRM_UI",
                    }
                )
        return changes, [_Webhook("hubspot", "contact.propertyChange", notifications)]


def _checked(who: Persona, action: str, options: Mapping[str, Any]) -> str:
    """The option's value, the default where none is given."""
    if action not in ACTIONS:
        raise ActRefused(f"unknown action {action!r:.80}; known: {', '.join(ACTIONS)}")
    if action not in who.acts:
        raise ActRefused(f"{who.name!r} does not {action!r}; it can: {', '.join(who.acts)}")
    known = ACTIONS[action]
    strange = sorted(set(options) - {known.option})
    if strange:
        takes = f"takes {known.option!r} alone" if known.option else "takes no option"
        raise ActRefused(f"option {strange[0]!r:.80} is not known: {action!r} {takes}")
    value = options.get(known.option) or (known.choices[0] if known.choices else "")
    if action == "visit":
        if not isinstance(value, str) or not value.startswith("/"):
            raise ActRefused(f"page {value!r:.80} is no path; give one such as /pricing")
    elif action == "change_job":
        if not isinstance(value, str) or len(value) > 120:
            raise ActRefused(f"job_title {value!r:.80} must be text of at most 120 characters")
    elif known.choices and value not in known.choices:
        raise ActRefused(f"unknown {known.option} {value!r:.80}; known: {', '.join(known.choices)}")
    return str(value)


def _box(who: Persona) -> bool | None:
    """What a persona does with the consent box of a form: those who opted out leave it alone."""
    return None if "opted_out" in who.person.traits else who.legal_basis is not None


def _form(act: _Act, form_id: str, agrees: bool | None) -> _Webhook:
    person = act.persona.person
    country = person.company.country
    who = {
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "company": person.company.name,
        "phone": phone_text(country, person.phone, 1) if person.phone else None,
        "country": country.code,
        "job_title": person.title,
    }
    anonymous = "anon-" + hashlib.sha256(person.key.encode()).hexdigest()[:16]
    consent = None if agrees is None else {"email": agrees, "notice_version": NOTICE_VERSION}
    page = _PAGES.get(form_id, "/blog")
    body = form_body(who, form_id, page, anonymous, act.at, consent)
    return _Webhook("web", "form.submitted", body)


def _notification(act: _Act, place: int, kind: str) -> dict[str, Any]:
    """What every HubSpot notification carries ("Webhooks API", 2026)."""
    return {
        "eventId": int(act.at.timestamp() * 1_000) + place,
        "subscriptionId": 3_000_001,
        "portalId": PORTAL_ID,
        "appId": APP_ID,
        "occurredAt": int(act.at.timestamp() * 1_000),
        "subscriptionType": kind,
        "attemptNumber": 0,
    }
