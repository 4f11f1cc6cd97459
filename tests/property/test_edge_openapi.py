"""The edge asked whatever its own OpenAPI document allows and forbids: it answers as it says, and never with a fault of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ingestion.edge.app import create_app
from ingestion.edge.clients import ClientRegistry
from ingestion.log.sqlite import SqliteLog
from ingestion.settings import Settings
from tests.serving import served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = ";".join(
        f"{route}=1000000/second"
        for route in ("events", "webhooks", "reads", "quarantine", "scheduling", "booking", "token")
    )
    home = tmp_path_factory.mktemp("openapi")
    configured = Settings(home=home, rate_limits=limits, webhook_secrets_hubspot="secret")
    with (
        closing(SqliteLog(configured.log_path)) as log,
        served(create_app(configured, log)) as address,
    ):
        # Everybody on this machine may do everything until there is a client.
        assert not ClientRegistry(configured.edge_dir).keys()
        yield address


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_edge_answers_as_its_document_says(url: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if operation is None or (mode is GenerationMode.NEGATIVE and not _has_input(operation)):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(base_url=url, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            # A path that takes any text has no wrong one.
            assert mode is GenerationMode.NEGATIVE
    assert asked > 100


def _has_input(operation: Any) -> bool:
    return bool(operation.body or operation.query or operation.path_parameters)
