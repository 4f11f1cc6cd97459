"""What the rules call compatible is: whatever the old schema takes, the new one takes, judged by jsonschema_rs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from jsonschema_rs import Draft202012Validator

from ingestion.contracts import compatibility
from ingestion.contracts.compatibility import accepts

# Few names and values, so that two schemas drawn on their own speak of the same ones.
NAMES = st.sampled_from(["a", "b", "system", "description"])
WORDS = st.sampled_from(["", "x", "xy", "2026-04-01", "12", "xyz12"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 1.5])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
TYPES = st.lists(
    st.sampled_from(["null", "boolean", "object", "array", "string", "number", "integer"]),
    min_size=1,
    max_size=3,
    unique=True,
)
SMALL = st.integers(0, 3)


def optional(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


LEAVES: st.SearchStrategy[Any] = st.one_of(
    optional(type=TYPES),
    optional(type=TYPES, enum=st.lists(SCALARS, min_size=1, max_size=4), const=SCALARS),
    optional(
        type=st.sampled_from(["string", ["string", "null"]]),
        minLength=SMALL,
        maxLength=SMALL,
        pattern=st.sampled_from(["^x", "[0-9]$"]),
        format=st.sampled_from(["date", "ipv4"]),
    ),
    optional(
        type=st.sampled_from(["number", "integer", ["integer", "null"]]),
        minimum=NUMBERS,
        maximum=NUMBERS,
        exclusiveMinimum=NUMBERS,
        exclusiveMaximum=NUMBERS,
    ),
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        optional(
            type=st.just("array"),
            items=inner,
            minItems=SMALL,
            maxItems=SMALL,
            uniqueItems=st.booleans(),
        ),
        optional(
            type=st.sampled_from(["object", ["object", "null"]]),
            properties=st.dictionaries(NAMES, inner, max_size=3),
            required=st.lists(NAMES, max_size=2, unique=True),
            additionalProperties=st.one_of(st.booleans(), inner),
            propertyNames=optional(maxLength=SMALL, pattern=st.just("^[a-z]+$")),
        ),
        optional(type=TYPES, anyOf=st.lists(inner, min_size=1, max_size=2)),
        # Keywords no rule judges: they must never be called compatible when they change.
        optional(**{"not": inner, "minProperties": SMALL, "type": TYPES}),
    ),
    max_leaves=5,
)


@st.composite
def edited(draw: st.DrawFn, schema: Any) -> Any:
    """The schema with an edit or two somewhere inside: pairs drawn apart are hardly ever compatible."""
    if not isinstance(schema, dict) or draw(st.integers(0, 4)) == 0:
        return draw(SCHEMAS)
    changed = dict(schema)
    for _ in range(draw(st.integers(1, 2))):
        keyword = draw(st.sampled_from(sorted({*changed, "type", "maxLength", "maximum"})))
        value = changed.get(keyword)
        match draw(st.integers(0, 3)):
            case 0:
                changed.pop(keyword, None)
            case 1 | 2 if isinstance(value, dict) and keyword == "properties":
                name = draw(NAMES)
                changed[keyword] = value | {name: draw(edited(value.get(name, {})))}
            case 1 | 2 if isinstance(value, dict):
                changed[keyword] = draw(edited(value))
            case 2 if isinstance(value, list) and keyword == "enum":
                changed[keyword] = [*value, draw(SCALARS)]
            case _ if isinstance(value, int | float) and not isinstance(value, bool):
                changed[keyword] = max(value + draw(st.sampled_from([-1, 1])), 0)
            case _:
                changed |= draw(LEAVES)
    return changed


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    old = draw(SCHEMAS)
    return old, draw(edited(old))


def is_compatible(old: Any, new: Any) -> bool:
    return not any(change.is_breaking for change in accepts(old, new))


def takes(schema: Any, document: Any) -> bool:
    return Draft202012Validator(schema, validate_formats=True).is_valid(document)


def is_counterexample(case: tuple[tuple[Any, Any], Any]) -> bool:
    (old, new), documents = case
    if not is_compatible(old, new):
        return False
    judged = Draft202012Validator(new, validate_formats=True)
    return any(takes(old, document) and not judged.is_valid(document) for document in documents)


CASES = st.tuples(pairs(), st.lists(DOCUMENTS, min_size=5, max_size=25))


@given(CASES)
@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_called_compatible_takes_every_document_of_before(
    case: tuple[tuple[Any, Any], list[Any]],
) -> None:
    assert not is_counterexample(case)


def test_the_pairs_drawn_are_of_both_verdicts_and_their_documents_of_both_kinds() -> None:
    seen: Counter[str] = Counter()

    @given(CASES)
    @settings(
        max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def draw(case: tuple[tuple[Any, Any], list[Any]]) -> None:
        (old, new), documents = case
        seen["compatible" if is_compatible(old, new) else "breaking"] += old != new
        taken = [takes(old, document) for document in documents]
        seen["taken"] += sum(taken)
        seen["refused"] += len(taken) - sum(taken)

    draw()
    assert min(seen["compatible"], seen["breaking"]) > 40, seen
    assert min(seen["taken"], seen["refused"]) > 500, seen


@pytest.mark.parametrize("blinded", ["type_narrowed", "enum_added", "bound_tightened"])
def test_a_rule_that_calls_its_change_harmless_is_found_out(
    blinded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The negative control: the same property, with one rule made blind.
    harmless = compatibility.Rule("minor", "nobody", "")
    monkeypatch.setitem(compatibility.RULES, blinded, harmless)
    try:
        find(
            CASES,
            is_counterexample,
            settings=settings(
                max_examples=3_000, deadline=None, database=None, phases=[Phase.generate]
            ),
        )
    except NoSuchExample:
        pytest.fail(f"nothing shows that {blinded} breaks anybody")
