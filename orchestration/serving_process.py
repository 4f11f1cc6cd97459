"""Asks the serving file in a process of its own: whoever answers many callers opens no warehouse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

Answer = TypeVar("Answer")
ATTEMPTS = 2


class ServingProcess:
    """Questions are functions of a module: `question(settings, *values)`, answered there one by one."""

    def __init__(self, settings: Settings) -> None:
        """Starts nothing yet; the first question does."""
        self._settings = settings
        self._pool: ProcessPoolExecutor | None = None
        self._starting = threading.Lock()

    def close(self) -> None:
        """End the process that answers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, question: Callable[..., Answer], *values: Any) -> Answer:
        """The answer, without keeping the loop waiting; the question's own HandoffError."""
        for attempt in range(1, ATTEMPTS + 1):
            pool = self._started()
            try:
                asked = pool.submit(_answer, question, self._settings, values)
                return _answered(await asyncio.wrap_future(asked))
            except BrokenProcessPool:
                self._forget(pool)
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _ask_now(self, question: Callable[..., Answer], *values: Any) -> Answer:
        """The answer, waited for in this thread."""
        for attempt in range(1, ATTEMPTS + 1):
            pool = self._started()
            try:
                return _answered(pool.submit(_answer, question, self._settings, values).result())
            except BrokenProcessPool:
                self._forget(pool)
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _started(self) -> ProcessPoolExecutor:
        with self._starting:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            return self._pool

    def _forget(self, pool: ProcessPoolExecutor) -> None:
        # Killed from outside, for memory for instance: the next one starts afresh.
        with self._starting:
            if self._pool is pool:
                self._pool = None


class _Failure:
    """A HandoffError on its way between processes: the exception itself does not survive pickling."""

    def __init__(self, error: HandoffError) -> None:
        self.code, self.message, self.remedy = error.code, error.message, error.remedy


def _answer(question: Callable[..., Answer], settings: Settings, values: Any) -> Answer | _Failure:
    try:
        return question(settings, *values)
    except HandoffError as error:
        return _Failure(error)


def _answered(found: Answer | _Failure) -> Answer:
    if isinstance(found, _Failure):
        raise HandoffError(found.code, found.message, remedy=found.remedy)
    return found
