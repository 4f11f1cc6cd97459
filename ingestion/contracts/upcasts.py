"""Brings `data` of an older contract up to the version its raw table has, by declared steps; the log keeps what was sent.

A minor version only adds, so its events need no step; a major one has `<record>/upcast_<from>_<to>.yml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise
from typing import Any

from ingestion.contracts import registry
from ingestion.contracts.registry import Contract
from ingestion.errors.catalog import HandoffError

Data = dict[str, Any]
Step = Callable[[Data], None]


@cache
def steps(contract: Contract) -> tuple[Step, ...]:
    """What is done to `data` of this contract, in order; empty when it is as the table has it."""
    names = registry.versions(contract.record)
    later = names[names.index(contract.version) :]
    found: list[Step] = []
    for old, new in pairwise(later):
        file = registry.FOLDER / contract.record / f"upcast_{old}_{new}.yml"
        if file.is_file():
            found += read_steps(file.read_text(encoding="utf-8"), f"{contract.record}/{file.name}")
    return tuple(found)


@cache
def outdated(record: str) -> frozenset[str]:
    """Versions whose events need a step before they land."""
    return frozenset(
        version for version in registry.versions(record) if steps(Contract(record, version))
    )


def upcast(data: Mapping[str, Any], contract: Contract) -> Data:
    """`data` as the raw table's version has it; what was given stays as it is."""
    brought = dict(data)
    for step in steps(contract):
        step(brought)
    return brought


def upcast_event(event: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """The event as one of the raw table's version, which its `dataschema` then names."""
    target = registry.table_version(contract.record)
    name = registry.schema_name(Contract(contract.record, target))
    return {**event, "dataschema": name, "data": upcast(event["data"], contract)}


def broken_examples() -> list[str]:
    """Examples of older contracts that are none of the newest once they are brought up: their events would be refused at the door."""
    found: list[str] = []
    for record in registry.RECORD_TABLES:
        for version in sorted(outdated(record)):
            contract = Contract(record, version)
            for at, example in enumerate(registry.schema(record, version).get("examples", ())):
                for breach in registry.not_brought_up({"data": example}, contract):
                    found.append(
                        f"{record} {version}: example {at}: {breach.path}: {breach.message}"
                    )
    return found


def read_steps(text: str, place: str) -> list[Step]:
    """The steps an upcast file declares; CONTRACTS_UNREADABLE names the one that cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place} is no YAML: {error}") from error
    declared = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(declared, list) or not declared:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place}: expected `steps:` and a list of them")
    return [_step(entry, f"{place}: step {at}") for at, entry in enumerate(declared, start=1)]


def _step(entry: Any, place: str) -> Step:
    kind, given = next(iter(entry.items())) if isinstance(entry, dict) and entry else (None, None)
    if kind not in _KINDS or len(entry) != 1:
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place} is {entry!r}; known: {', '.join(_KINDS)}"
        )
    apply, wanted = _KINDS[kind]
    if not isinstance(given, dict) or set(given) != wanted:
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place}: {kind} takes {', '.join(sorted(wanted))}"
        )
    return partial(apply, given)


def _rename(given: Mapping[str, Any], data: Data) -> None:
    # A field that is absent stays absent, and one that is null stays null: they say different things.
    if given["from"] in data:
        data[given["to"]] = data.pop(given["from"])


def _default(given: Mapping[str, Any], data: Data) -> None:
    data.setdefault(given["field"], given["value"])


def _map(given: Mapping[str, Any], data: Data) -> None:
    value = data.get(given["field"])
    if isinstance(value, str) and value in given["values"]:
        data[given["field"]] = given["values"][value]


def _split(given: Mapping[str, Any], data: Data) -> None:
    """At the first separator; the last of `into` takes the rest, and one that gets nothing stays absent."""
    if given["field"] not in data:
        return
    value = data.pop(given["field"])
    if value is None:
        data.update(dict.fromkeys(given["into"]))
        return
    parts = [part.strip() for part in str(value).split(given["at"], len(given["into"]) - 1)]
    data.update({name: part for name, part in zip(given["into"], parts, strict=False) if part})


def _keep(given: Mapping[str, Any], data: Data) -> None:
    """A field the newer version does not have is kept under `custom`, where nothing is lost."""
    if given["field"] not in data:
        return
    value = data.pop(given["field"])
    data["custom"] = {**(data.get("custom") or {}), given["field"]: value}


_KINDS: dict[str, tuple[Callable[[Mapping[str, Any], Data], None], set[str]]] = {
    "rename": (_rename, {"from", "to"}),
    "default": (_default, {"field", "value"}),
    "map": (_map, {"field", "values"}),
    "split": (_split, {"field", "at", "into"}),
    "keep_in_custom": (_keep, {"field"}),
}
