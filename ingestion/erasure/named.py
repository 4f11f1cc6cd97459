"""Where records and polled rows name people, and what is left of one when a person is erased; decides nothing and stores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

Document = dict[str, Any]
# A record's id in the row's system or with its own (`{"system", "record_id"}`), an e-mail address, one that stands for a record of its own where
# no id is given, a browser's id, our own id of a person. `made`: a record's id that is made of an address.
Kind = Literal["record", "stated", "made", "address", "mailbox", "visitor", "person"]
# Whether a value of a kind stands for somebody who was erased.
IsErased = Callable[[Kind, str], bool]

# What stands in the place of an address within a text.
REDACTED = "erased"
# What may be an address within a text.
_ADDRESS = re.compile(r"[\w.+'\u2019-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True, slots=True)
class Named:
    """Where one kind of row names people: dotted paths into it, `[]` for each entry of a list, `@` for the row's own id; of single values the
    first that is there counts, or any of them (`is_any`).

    A row that is about the person goes. Of others (`is_about` false, such as a deal) only the mention goes; of a list the entry goes, and the
    row with it where fewer than `least` entries are left. `is_whole`: the row says the same once more in a form of its own (a calendar file),
    so any mention takes it.
    """

    places: tuple[tuple[Kind, str], ...] = ()
    is_about: bool = True
    least: int = 1
    is_whole: bool = False
    is_any: bool = False


NOBODY = Named()


def itself(email: str) -> Named:
    """The row is a person's record, and names their address at `email`."""
    return Named((("record", "@"), ("address", email)), is_any=True)


# Canonical records; the system of an id is that of the record, and for the word of a person the one before the colon.
# Whose own addresses these rows hold: colleagues are nobody's leads.
OF_COLLEAGUES = frozenset({"rep", "owners", "users", "organization_memberships"})
RECORDS: Mapping[str, Named] = {
    "contact": Named(
        (("record", "record_id"), ("address", "email"), ("stated", "external_ids[]")),
        is_any=True,
        least=0,
    ),
    "account": NOBODY,
    "opportunity": Named((("record", "contact_ids[]"),), is_about=False),
    "activity": Named(
        (("record", "contact_id"), ("mailbox", "email"), ("visitor", "anonymous_id"))
    ),
    "consent": Named((("record", "contact_id"), ("mailbox", "email"))),
    "rep": NOBODY,
    "campaign": NOBODY,
    "meeting": Named((("record", "contact_id"),)),
    "merge": Named((("record", "surviving_id"), ("record", "merged_ids[]"))),
    "stage_change": Named((("record", "contact_id"),)),
    "receipt": Named((("person", "person_id"), ("record", "record_id")), is_any=True),
    "erasure": NOBODY,
}


def what_is_left(
    row: Document, named: Named, is_erased: IsErased, own_id: str | None = None
) -> Document | None:
    """The row without the person: itself where it does not name them, a changed copy, or None where it goes. `row` is not changed."""
    if not any(_hits(row, path, kind, is_erased, own_id) for kind, path in named.places):
        return row
    if named.is_whole:
        return None
    left = deepcopy(row)
    is_decided = False
    for kind, path in named.places:
        if "[]" in path:
            counts = _without_entries(left, path.split("."), kind, is_erased)
            if named.is_about and any(before != after < named.least for before, after in counts):
                return None
            continue
        value = own_id if path == "@" else _value(left, path)
        if is_decided or value is None:
            continue
        if named.is_about:
            is_decided = not named.is_any
            if is_erased(kind, str(value)):
                return None
        elif is_erased(kind, str(value)):
            _set_null(left, path)
    return left


def redacted(value: Any, addresses: re.Pattern[str]) -> Any:
    """`value` with every text in it that `addresses` finds replaced."""
    return _with_texts(value, lambda text: addresses.sub(REDACTED, text))


def any_of(texts: set[str]) -> re.Pattern[str]:
    """Finds any of `texts` (not empty), whole and in any spelling of case: jane@acme.com is not in jane@acme.com.au, nor in mary-jane@acme.com."""
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    words = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![\w.+-])(?<!\w['\u2019])(?:{words})(?![\w-]|\.\w)", re.IGNORECASE)


def without_addresses(value: Any, is_erased: IsErased) -> Any:
    """`value` with every e-mail address in it that stands for somebody erased replaced."""

    def replaced(found: re.Match[str]) -> str:
        return REDACTED if is_erased("address", found[0]) else found[0]

    return _with_texts(value, lambda text: _ADDRESS.sub(replaced, text) if "@" in text else text)


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A document with `change` made to each of its texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _with_texts(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_texts(item, change) for item in value]
    return value


def _hits(row: Document, path: str, kind: Kind, is_erased: IsErased, own_id: str | None) -> bool:
    if path == "@":
        return own_id is not None and is_erased(kind, own_id)
    return any(is_erased(kind, value) for value in _values(row, path.split(".")))


def _values(node: Any, steps: list[str]) -> list[str]:
    """Every value at the end of a path, as text."""
    if not steps:
        if isinstance(node, dict) and "record_id" in node:
            return [f"{node.get('system')}:{node['record_id']}"]
        return [] if node is None or isinstance(node, (dict, list)) else [str(node)]
    if not isinstance(node, dict):
        return []
    name = steps[0].removesuffix("[]")
    found = node.get(name)
    if name == steps[0]:
        return _values(found, steps[1:])
    return [value for entry in found or () for value in _values(entry, steps[1:])]


def _value(row: Document, path: str) -> str | None:
    return next(iter(_values(row, path.split("."))), None)


def _without_entries(
    node: Any, steps: list[str], kind: Kind, is_erased: IsErased
) -> list[tuple[int, int]]:
    """Take entries out of the lists a path leads through, the innermost that names somebody; answers each list's length before and after."""
    if not isinstance(node, dict):
        return []
    name = steps[0].removesuffix("[]")
    found = node.get(name)
    if name == steps[0]:
        return _without_entries(found, steps[1:], kind, is_erased)
    if not isinstance(found, list):
        return []
    rest = steps[1:]
    if any("[]" in step for step in rest):
        return [
            counts for entry in found for counts in _without_entries(entry, rest, kind, is_erased)
        ]
    kept = [
        entry
        for entry in found
        if not any(is_erased(kind, value) for value in _values(entry, rest))
    ]
    node[name] = kept
    return [(len(found), len(kept))]


def _set_null(row: Document, path: str) -> None:
    *parents, last = path.split(".")
    node: Any = row
    for step in parents:
        node = node[step]
    node[last] = None
