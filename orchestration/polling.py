"""Asks the outside systems before a batch takes the warehouse, so that nobody waits for them; landing is the batch's."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from ingestion.errors.catalog import HandoffError
from ingestion.landing import polls
from ingestion.settings import Settings
from orchestration.progress import report

# What each system that was asked answered: None when all went well.
Answers = Mapping[str, Exception | None]

_asked: list[Answers] = []
# When each address was last asked, by a clock of seconds. A restart asks at once.
_asked_at: dict[str, float] = {}


def ask_systems(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Answers:
    """Poll every configured system into the archive; what one raises is its answer, and the others are asked. One whose calls a day are few
    (HANDOFF_<SYSTEM>_POLL_SECONDS) is passed over until its time has come, as if it had no news."""
    answers: dict[str, Exception | None] = {}
    for system in polls.configured_systems(settings):
        address = getattr(settings, f"{system}_url")
        pause = getattr(settings, f"{system}_poll_seconds", 0.0)
        if pause and address in _asked_at and clock() - _asked_at[address] < pause:
            answers[system] = None
            continue
        report(f"polling {system}")
        began = clock()
        try:
            answers[system] = polls.archive_news(settings, system)
        except Exception as error:
            answers[system] = error
        # What failed for a while is tried again with the next batch; no quota comes back so soon.
        answer = answers[system]
        if not isinstance(answer, HandoffError) or answer.code == "QUOTA_EXHAUSTED":
            _asked_at[address] = began
    return answers


@contextlib.contextmanager
def asked_before(answers: Answers) -> Iterator[None]:
    """Let the batch in this block land what the archive holds instead of polling again."""
    _asked.append(answers)
    try:
        yield
    finally:
        _asked.pop()


def answer_of(settings: Settings, system: str) -> HandoffError | None:
    """The failure of a system's poll, asked now unless it was asked before the batch; anything that does not come from outside is raised."""
    if system not in polls.configured_systems(settings):
        # Not configured (any more): what its archive holds still counts.
        return None
    if _asked and system in _asked[-1]:
        answer = _asked[-1][system]
    else:
        report(f"polling {system}")
        answer = polls.archive_news(settings, system)
    if answer is None:
        return None
    # A system that is down or refuses us must not keep the others' events from being decided on.
    if isinstance(answer, HandoffError) and answer.entry.is_outside:
        return answer
    raise answer


class Asking:
    """Asks in a thread of its own, while hot batches go on."""

    def __init__(self, settings: Settings) -> None:
        """Start at once."""
        self._answers: Answers | None = None
        self._thread = threading.Thread(target=self._ask, args=(settings,), daemon=True)
        self._thread.start()

    def answers(self) -> Answers | None:
        """What they answered; None while they are being asked."""
        return None if self._thread.is_alive() else (self._answers or {})

    def _ask(self, settings: Settings) -> None:
        self._answers = ask_systems(settings)
