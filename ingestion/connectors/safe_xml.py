"""Reads XML from strangers as elements by local name; whatever could read a file, open a connection
or grow on its own is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from ingestion.errors.catalog import HandoffError

MAX_DEPTH = 32


@dataclass(slots=True)
class Element:
    """One element; names without their prefix, attributes likewise, text of its own joined."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> list[Element]:
        """The children of that name, in order."""
        return [child for child in self.children if child.name == name]

    def find(self, name: str) -> Element | None:
        """The one child of that name; None when there is none or several."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None

    def text_of(self, name: str) -> str | None:
        """The text of the one child of that name, None when it is absent, nil or empty."""
        found = self.find(name)
        return None if found is None else found.value

    @property
    def value(self) -> str | None:
        """The element's text; None when it is empty or says `xsi:nil`."""
        return None if self.attributes.get("nil") in ("true", "1") else self.text.strip() or None


def read_xml(body: bytes) -> Element:
    """The root element; SCHEMA_INVALID when it is no well-formed XML in UTF-8, or has a document
    type, an entity of its own, a processing instruction, or more than 32 levels.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/XML_External_Entity_Prevention_Cheat_Sheet.html
    """
    try:
        # A byte order mark would switch the parser to UTF-16, whatever it is told.
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HandoffError("SCHEMA_INVALID", "the body is not UTF-8", path="") from error
    reader = _Reader()
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _refuse("a document type")
    parser.EntityDeclHandler = _refuse("an entity declaration")
    parser.ExternalEntityRefHandler = _refuse("an external entity")
    parser.ProcessingInstructionHandler = _refuse("a processing instruction")
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise HandoffError("SCHEMA_INVALID", f"the body is not XML: {error}", path="") from error
    assert reader.root is not None
    return reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = Element(_local(name), {_local(each): value for each, value in attributes.items()})
        if len(self._open) == MAX_DEPTH:
            raise HandoffError(
                "SCHEMA_INVALID", f"the XML is nested deeper than {MAX_DEPTH} levels", path=""
            )
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].text += text


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse(what: str) -> Any:
    def refuse(*_: Any) -> NoReturn:
        raise HandoffError("SCHEMA_INVALID", f"the XML carries {what}, which is not taken", path="")

    return refuse
