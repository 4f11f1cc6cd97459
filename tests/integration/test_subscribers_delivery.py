"""Deliveries against a real receiver: signed, in order, tried again as planned, given up, disabled and taken up again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.subscribers.deliverer import Delivered, Deliverer
from ingestion.subscribers.deliveries import endpoint
from ingestion.subscribers.outbox import Message, Outbox
from ingestion.subscribers.subscription import DeliveryPolicy, MessageKind, Subscriber, Subscribers
from tests.integration.webhook_receiver import OTHER_SECRET, SECRET, Receiver

KINDS: tuple[MessageKind, ...] = (
    "mql.reached",
    "lead.assigned",
    "meeting.booked",
    "meeting.outcome",
)
HOUR = 3_600.0


@dataclass
class Clock:
    """Unix time that moves when it is told to; begins now, as receivers check the age of a signature."""

    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    def __call__(self) -> float:
        return self.now

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@dataclass
class Desk:
    """An outbox, one receiver, and a deliverer at a clock of the test's."""

    outbox: Outbox
    subscribers: Subscribers
    clock: Clock

    def tell(self, *messages: Message) -> Any:
        return self.outbox.tell(messages, self.subscribers, self.clock.at)

    def message(
        self, number: int | str, subject: str, kind: MessageKind = "mql.reached", **fields: Any
    ) -> Message:
        return Message(
            message_id=f"message-{number}",
            decision_id=f"decision-{number}",
            kind=kind,
            subject=subject,
            happened_at=fields.pop("happened_at", self.clock.at + timedelta(seconds=1)),
            data={"person_id": subject, "number": number, **fields.pop("data", {})},
            **fields,
        )

    def deliver(self) -> Delivered:
        return Deliverer(
            self.outbox, lambda: self.subscribers, clock=self.clock, jitter=random.Random(7)
        ).once()

    def states(self) -> dict[str, str]:
        return dict(
            self.outbox.rows("select message_id, state from deliveries order by delivery_id")
        )

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    started = Receiver(tmp_path / "receiver").start()
    yield started
    started.stop()


@pytest.fixture
def open_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    opened: list[Outbox] = []

    def make(
        *urls: str, secret: str = SECRET, policy: DeliveryPolicy | None = None, **fields: Any
    ) -> Desk:
        by_name = {}
        for number, url in enumerate(urls):
            name = f"receiver_{number}"
            monkeypatch.setenv(f"HANDOFF_SUBSCRIBER_SECRET_{name.upper()}", secret)
            by_name[name] = Subscriber(name, url, KINDS, **fields)
        outbox = Outbox(tmp_path / "log" / "deliveries.sqlite")
        opened.append(outbox)
        desk = Desk(outbox, Subscribers(by_name, policy or DeliveryPolicy()), Clock())
        outbox.subscribe(desk.subscribers, desk.clock.at)
        return desk

    yield make
    for outbox in opened:
        outbox.close()


def test_what_is_told_arrives_once_and_its_signature_verifies(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    for _ in range(3):
        desk.tell(desk.message(1, "anna", trace_parent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"))
        desk.deliver()
    [got] = receiver.got()
    assert got["is_verified"]
    assert (got["id"], got["kind"], got["subject"]) == ("message-1", "mql.reached", "anna")
    assert got["headers"]["traceparent"].startswith("00-aaaa")
    assert (
        got["headers"]["Host" if "Host" in got["headers"] else "host"] == receiver.url.split("/")[2]
    )


def test_a_receiver_with_another_secret_refuses_and_with_either_of_two_accepts(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url, secret=OTHER_SECRET)
    desk.tell(desk.message(1, "anna"))
    desk.deliver()
    assert [each["status"] for each in receiver.got()] == [401]
    both = open_desk(receiver.url, secret=f"{OTHER_SECRET},{SECRET}")
    both.wait(60)
    both.deliver()
    assert [(each["status"], each["signatures"]) for each in receiver.got()] == [(401, 1), (204, 2)]


def test_without_a_secret_nothing_leaves(
    open_desk: Callable[..., Desk], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(receiver.url)
    monkeypatch.delenv("HANDOFF_SUBSCRIBER_SECRET_RECEIVER_0")
    desk.tell(desk.message(1, "anna"))
    assert desk.deliver().failed == 1
    assert receiver.got() == []
    assert desk.outbox.rows("select code from deliveries") == [("SUBSCRIBER_SECRET_INVALID",)]


def test_a_message_is_tried_as_the_schedule_says_with_the_same_id_and_body(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    receiver.always(_={"status": 500})
    desk.tell(desk.message(1, "anna"))
    policy = desk.subscribers.policy
    waits: list[float] = []
    while desk.states()["message-1"] == "pending":
        [(due_us,)] = desk.outbox.rows("select due_us from deliveries")
        waits.append(due_us / 1e6 - desk.clock.now)
        # Not before it is due.
        desk.clock.now = due_us / 1e6 - 0.001
        assert desk.deliver().failed == 0
        desk.clock.now = due_us / 1e6
        assert desk.deliver().failed == 1
    assert len(waits) == policy.most_attempts == 10
    for wait, planned in zip(waits[1:], policy.retry_seconds, strict=True):
        assert planned * 0.8 <= wait <= planned * 1.2
    assert (
        len({wait / planned for wait, planned in zip(waits[1:], policy.retry_seconds, strict=True)})
        > 5
    )
    got = receiver.got()
    assert len({(each["id"], each["body"]) for each in got}) == 1
    # Each attempt is dated and signed anew: the receiver would refuse an old one.
    assert len({each["timestamp"] for each in got}) == 10
    assert desk.outbox.rows("select state, attempts, code, detail from deliveries") == [
        ("dead", 10, "SUBSCRIBER_UNREACHABLE", "it answered 500")
    ]


def test_a_failing_message_holds_back_its_subject_and_nobody_else(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    receiver.always(anna={"status": 500})
    desk.tell(
        *(
            desk.message(
                f"{person}-{number}", person, happened_at=desk.clock.at + timedelta(seconds=number)
            )
            for number in range(1, 6)
            for person in ("anna", "bert", "carl")
        )
    )
    desk.deliver()
    assert [each["subject"] for each in receiver.taken()].count("anna") == 0
    assert len([each for each in receiver.got() if each["subject"] == "anna"]) == 1
    for person in ("bert", "carl"):
        taken = [each["id"] for each in receiver.taken() if each["subject"] == person]
        assert taken == [f"message-{person}-{number}" for number in range(1, 6)]
    receiver.always(anna=None)
    desk.wait(10)
    desk.deliver()
    taken = [each["id"] for each in receiver.taken() if each["subject"] == "anna"]
    assert taken == [f"message-anna-{number}" for number in range(1, 6)]


def test_of_one_subject_there_is_never_more_than_one_request_and_of_many_there_are_several(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    receiver.always(_={"delay": 0.05})
    desk.tell(*(desk.message(number, f"person-{number % 6}") for number in range(24)))
    assert desk.deliver().delivered == 24
    spans = [(each["began"], each["ended"], each["subject"]) for each in receiver.got()]
    overlapping = [
        (one[2], other[2])
        for index, one in enumerate(spans)
        for other in spans[index + 1 :]
        if one[0] < other[1] and other[0] < one[1]
    ]
    assert overlapping
    assert [pair for pair in overlapping if pair[0] == pair[1]] == []


def test_a_receiver_that_takes_a_message_and_hangs_up_gets_it_again_under_the_same_id(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    receiver.script({"hang_up": True})
    desk.tell(desk.message(1, "anna"))
    assert desk.deliver().failed == 1
    desk.wait(10)
    assert desk.deliver().delivered == 1
    assert [each["id"] for each in receiver.got()] == ["message-1", "message-1"]


@pytest.mark.parametrize(
    "rule",
    [{"delay": 3}, {"status": 200, "body": "x", "times": 3_000, "drip": 0.01}],
    ids=["late", "a byte at a time"],
)
def test_an_answer_that_does_not_end_is_given_up(
    open_desk: Callable[..., Desk], receiver: Receiver, rule: dict[str, Any]
) -> None:
    desk = open_desk(receiver.url, policy=DeliveryPolicy(timeout_seconds=0.5))
    receiver.script(rule)
    desk.tell(desk.message(1, "anna"))
    desk.deliver()
    [(code, seconds)] = desk.outbox.rows("select code, seconds from attempts")
    assert code == "SUBSCRIBER_UNREACHABLE"
    assert seconds < 2


def test_of_an_answer_four_kilobytes_are_read_and_kept(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    receiver.script({"status": 400, "body": "why not ", "times": 1_000_000})
    desk.tell(desk.message(1, "anna"))
    desk.deliver()
    [(answer, code)] = desk.outbox.rows("select answer, code from attempts")
    assert (len(answer), answer[:8], code) == (4_096, b"why not ", "SUBSCRIBER_REFUSED")


def test_a_redirect_is_a_failure_and_is_not_followed(
    open_desk: Callable[..., Desk], receiver: Receiver, tmp_path: Path
) -> None:
    inside = Receiver(tmp_path / "inside").start()
    try:
        desk = open_desk(receiver.url)
        receiver.script({"status": 307, "headers": {"location": inside.url}})
        desk.tell(desk.message(1, "anna"))
        desk.deliver()
        assert inside.got() == []
        assert desk.outbox.rows("select code, status from attempts") == [
            ("SUBSCRIBER_REFUSED", 307)
        ]
    finally:
        inside.stop()


def test_410_ends_it_at_once_until_somebody_enables_it(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    from ingestion.subscribers.desk import enable

    desk = open_desk(receiver.url)
    receiver.script({"status": 410})
    desk.tell(desk.message(1, "anna"), desk.message(2, "anna"))
    desk.deliver()
    desk.wait(30 * 24 * HOUR)
    desk.deliver()
    assert len(receiver.got()) == 1
    assert endpoint(desk.outbox, "receiver_0").state == "gone"
    enable(desk.outbox, "receiver_0", desk.clock.at)
    desk.clock.now = datetime.now(UTC).timestamp()
    desk.deliver()
    assert [each["id"] for each in receiver.taken()] == ["message-1", "message-2"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_asks_for_less_is_left_alone_as_a_whole(
    open_desk: Callable[..., Desk], receiver: Receiver, status: int
) -> None:
    desk = open_desk(receiver.url, policy=DeliveryPolicy(concurrency=1))
    receiver.script({"status": status, "headers": {"retry-after": "120"}})
    desk.tell(*(desk.message(number, f"person-{number}") for number in range(5)))
    desk.deliver()
    desk.wait(119)
    desk.deliver()
    assert len(receiver.got()) == 1
    desk.wait(30)
    desk.deliver()
    assert len(receiver.taken()) == 5


def test_one_receiver_that_is_down_keeps_no_other_waiting(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk("http://127.0.0.1:1/nobody", receiver.url)
    desk.tell(*(desk.message(number, f"person-{number}") for number in range(50)))
    done = desk.deliver()
    assert done.by_subscriber == {"receiver_1": 50}


def test_after_days_of_failure_it_is_disabled_probed_with_the_oldest_and_taken_up_again(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    policy = DeliveryPolicy(retry_seconds=(HOUR,) * 200, disable_after_seconds=120 * HOUR)
    desk = open_desk(receiver.url, policy=policy)
    # In the past, so that the story ends now: what the receiver takes has to be signed within minutes of its own clock.
    desk.clock.now -= 140 * HOUR
    receiver.always(_={"status": 500})
    desk.tell(
        desk.message(1, "anna", happened_at=datetime.now(UTC)),
        desk.message(2, "bert", happened_at=datetime.now(UTC)),
    )
    hours = 0
    while endpoint(desk.outbox, "receiver_0").state == "enabled":
        desk.deliver()
        desk.wait(HOUR)
        hours += 1
    assert 119 <= hours <= 123
    asked = len(receiver.got())
    # Disabled: one probe an hour with the oldest, and what comes meanwhile waits.
    desk.tell(
        *(
            desk.message(number, person, happened_at=datetime.now(UTC))
            for number, person in ((3, "anna"), (4, "carl"))
        )
    )
    attempts = desk.outbox.rows("select attempts from deliveries where message_id = 'message-1'")
    for _ in range(5):
        desk.wait(policy.probe_seconds)
        desk.deliver()
    assert [each["id"] for each in receiver.got()[asked:]] == ["message-1"] * 5
    assert (
        desk.outbox.rows("select attempts from deliveries where message_id = 'message-1'")
        == attempts
    )
    receiver.always(_=None)
    desk.clock.now = datetime.now(UTC).timestamp()
    desk.deliver()
    assert endpoint(desk.outbox, "receiver_0").state == "enabled"
    assert next(each["id"] for each in receiver.taken()) == "message-1"
    assert set(desk.states().values()) == {"delivered"}


def test_dead_letters_in_a_row_disable_it_and_a_dead_letter_is_the_probe(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    policy = DeliveryPolicy(retry_seconds=(1.0,), disable_after_dead_letters=3, probe_seconds=60)
    desk = open_desk(receiver.url, policy=policy)
    receiver.always(_={"status": 400})
    desk.tell(*(desk.message(number, f"person-{number}") for number in range(3)))
    for _ in range(8):
        desk.deliver()
        desk.wait(2)
    assert set(desk.states().values()) == {"dead"}
    assert endpoint(desk.outbox, "receiver_0").state == "disabled"
    receiver.always(_=None)
    desk.wait(60)
    desk.deliver()
    assert endpoint(desk.outbox, "receiver_0").state == "enabled"
    assert desk.states() == {"message-0": "delivered", "message-1": "dead", "message-2": "dead"}


def test_a_host_that_resolves_into_our_own_network_is_not_asked(
    open_desk: Callable[..., Desk], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def answers(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", answers)
    desk = open_desk(receiver.url.replace("127.0.0.1", "rebound.example.com"))
    desk.tell(desk.message(1, "anna"))
    desk.deliver()
    assert receiver.got() == []
    assert desk.outbox.rows("select code from attempts") == [("ADDRESS_REFUSED",)]


def test_personal_fields_go_to_who_asks_for_people_who_may_be_written_there_and_stop_when_they_may_not(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    asking = replace(
        desk.subscribers.by_name["receiver_0"],
        personal_fields=("email",),
        consent_destination="salesforce",
    )
    personal = {"email": "anna@example.com", "phone": "+4930123"}
    plain = desk.message(1, "anna", personal=personal, consented=("salesforce",))
    desk.tell(plain)
    desk.deliver()
    desk.subscribers = Subscribers({"receiver_0": asking}, desk.subscribers.policy)
    desk.tell(
        desk.message(2, "anna", personal=personal, consented=("salesforce",)),
        desk.message(3, "bert", personal=personal, consented=("hubspot",)),
    )
    desk.deliver()
    receiver.always(carl={"status": 500})
    desk.tell(desk.message(4, "carl", personal=personal, consented=("salesforce",)))
    desk.deliver()
    # Withdrawn while the message waits for its next attempt.
    desk.outbox.set_consented({"carl": ()})
    receiver.always(carl=None)
    desk.wait(10)
    desk.deliver()
    bodies = {each["id"]: each["body"] for each in receiver.taken()}
    assert "anna@example.com" not in bodies["message-1"]
    assert '"personal":{"email":"anna@example.com"}' in bodies["message-2"]
    assert '"personal":{"email":null}' in bodies["message-3"]
    assert '"personal":{"email":null}' in bodies["message-4"]
    assert not any("+4930123" in body for body in bodies.values())


def test_a_message_too_large_for_receivers_is_a_dead_letter_and_blocks_nobody(
    open_desk: Callable[..., Desk], receiver: Receiver
) -> None:
    desk = open_desk(receiver.url)
    desk.tell(desk.message(1, "anna", data={"reasons": "x" * 20_000}), desk.message(2, "anna"))
    desk.deliver()
    assert desk.states() == {"message-1": "dead", "message-2": "delivered"}
    assert endpoint(desk.outbox, "receiver_0").failing_since_us is None


def certificate_for(name: str, folder: Path) -> Path:
    """A self-signed certificate of that name with its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize(
    ("name", "is_trusted", "delivered"),
    [("localhost", True, 1), ("localhost", False, 0), ("other.example.com", True, 0)],
)
def test_a_certificate_has_to_be_trusted_and_of_the_name_in_the_url(
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_trusted: bool,
    delivered: int,
) -> None:
    from ingestion.subscribers import attempt

    pem = certificate_for(name, tmp_path)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    attempt._trusted.cache_clear()
    receiver = Receiver(tmp_path / "receiver", certificate=pem).start()
    try:
        desk = open_desk(f"https://localhost:{receiver.port}/hooks")
        desk.tell(desk.message(1, "anna"))
        assert desk.deliver().delivered == delivered
        assert len(receiver.got()) == delivered
        if not delivered:
            [(code, detail)] = desk.outbox.rows("select code, detail from attempts")
            assert code == "SUBSCRIBER_UNREACHABLE"
            assert "CERTIFICATE_VERIFY_FAILED" in detail
    finally:
        attempt._trusted.cache_clear()
        receiver.stop()
