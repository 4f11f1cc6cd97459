"""Reads `subscribers.yml`: who is told what. Not a kind of policy, as it decides nothing: changing it rebuilds nothing and freezes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from ingestion.subscribers.addresses import url_fault
from ingestion.subscribers.subscription import (
    RETRY_SECONDS,
    DeliveryPolicy,
    MessageKind,
    PersonalField,
    Subscriber,
    Subscribers,
)
from models.policies.documents import Name, Part, Positive, Text
from models.policies.load import POLICY_FOLDER, SUBSCRIBERS_FILE, parse_source, read_source
from models.policies.problems import Fault, Problem, policy_error


class DeliverySettings(Part):
    """How deliveries are tried. The defaults are those of Standard Webhooks."""

    retry_seconds: tuple[Positive, ...] = Field(
        RETRY_SECONDS, description="Waits between attempts; one attempt more than there are waits."
    )
    timeout_seconds: Positive = Field(15.0, le=60, description="For the whole of one attempt.")
    disable_after_hours: Positive = Field(
        120.0, description="Without one success for so long, a subscriber is disabled and probed."
    )
    disable_after_dead_letters: int = Field(
        50, ge=1, description="The same after so many dead letters in a row."
    )
    probe_seconds: Positive = Field(
        3_600.0, description="How often a disabled subscriber is asked whether it is back."
    )
    concurrency: int = Field(
        8, ge=1, le=32, description="Requests to one subscriber at once; one subject's never."
    )
    keep_days: int = Field(
        90, ge=1, description="How long what was delivered can be sent again, and answers are kept."
    )


class SubscriberDocument(Part):
    """One receiver of webhooks. Its secret stands in HANDOFF_SUBSCRIBER_SECRET_<NAME>, never here."""

    name: Name
    description: Text = Field(description="What it does with what it is told.")
    owner: Text = Field(description="Who to ask when it fails: a team or an e-mail address.")
    url: Text = Field(description="https://…; http:// for this machine alone.")
    kinds: tuple[MessageKind, ...] = Field(min_length=1, description="What it is told.")
    personal_fields: tuple[PersonalField, ...] = Field(
        (), description="Asked for beyond the decision; without them it gets ids alone."
    )
    consent_destination: Name | None = Field(
        None,
        description="Destination of the consent policy that allows its personal fields; for everybody else they are null.",
    )
    allow_private_address: bool = Field(
        False, description="It stands in a private network; never opens loopback or link-local."
    )


class SubscribersDocument(Part):
    """Who is told what of ours, by webhook."""

    delivery: DeliverySettings = DeliverySettings()
    subscribers: tuple[SubscriberDocument, ...] = ()


def load_subscribers(folder: Path | None = None) -> Subscribers:
    """What `subscribers.yml` of the policy folder says; nobody when there is none.

    Raises POLICY_INVALID (exit code 4) naming file, line, value and remedy of every problem.
    """
    folder = POLICY_FOLDER if folder is None else folder
    file = folder / SUBSCRIBERS_FILE
    if not file.is_file():
        return Subscribers()
    problems: list[Problem] = []
    source = read_source(folder, file, problems)
    document = parse_source(SubscribersDocument, source, problems) if source else None
    if source is not None and document is not None:
        problems += [source.problem(fault) for fault in _faults(document)]
    if problems or document is None:
        raise policy_error(problems)
    return _subscribers(document)


def _faults(document: SubscribersDocument) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, each in enumerate(document.subscribers):
        place = ("subscribers", index)
        if each.name in seen:
            yield Fault(
                (*place, "name"), f"'{each.name}' is named twice", "Give each a name of its own."
            )
        seen.add(each.name)
        if (fault := url_fault(each.url, allow_private=each.allow_private_address)) is not None:
            yield Fault((*place, "url"), f"url of '{each.name}': {fault}", "Correct the address.")
        if each.personal_fields and each.consent_destination is None:
            yield Fault(
                (*place, "personal_fields"),
                f"'{each.name}' asks for {', '.join(each.personal_fields)} and names no consent_destination",
                "Name the destination of the consent policy whose rules allow it, such as salesforce.",
            )


def _subscribers(document: SubscribersDocument) -> Subscribers:
    delivery = document.delivery
    policy = DeliveryPolicy(
        retry_seconds=delivery.retry_seconds,
        timeout_seconds=delivery.timeout_seconds,
        disable_after_seconds=delivery.disable_after_hours * 3_600,
        disable_after_dead_letters=delivery.disable_after_dead_letters,
        probe_seconds=delivery.probe_seconds,
        concurrency=delivery.concurrency,
        keep_days=delivery.keep_days,
    )
    by_name = {
        each.name: Subscriber(
            name=each.name,
            url=each.url,
            kinds=each.kinds,
            personal_fields=each.personal_fields,
            consent_destination=each.consent_destination,
            allow_private_address=each.allow_private_address,
        )
        for each in document.subscribers
    }
    return Subscribers(by_name, policy)
