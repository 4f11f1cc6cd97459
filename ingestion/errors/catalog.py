"""Reads the error catalog and raises its codes; the texts themselves stand in catalog.yml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

CATALOG_FILE = Path(__file__).with_name("catalog.yml")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One code: `status` is the HTTP status, `exit_code` what the CLI ends with (1 checks, 2 usage, 3 outside, 4 configuration)."""

    code: str
    title: str
    status: int
    retryable: bool
    exit_code: int
    meaning: str
    remedy: str

    @property
    def is_outside(self) -> bool:
        """Whether it comes from another system: nothing here is set up wrongly or out of order."""
        return self.exit_code == 3

    @property
    def runbook(self) -> str:
        """Address of the code's section in the generated error catalog page."""
        return f"docs/errors.md#{self.code.lower()}"


class HandoffError(Exception):
    """An error a person can cause and mend: carries a catalog code, the value that broke and the remedy."""

    def __init__(
        self, code: str, message: str, *, remedy: str | None = None, path: str | None = None
    ) -> None:
        self.entry = catalog_entry(code)
        self.code = code
        self.message = message
        self.remedy = remedy or self.entry.remedy
        self.path = path
        super().__init__(message)


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Every entry by code, in the order of the file."""
    from ruamel.yaml import YAML

    rows = YAML(typ="safe").load(CATALOG_FILE.read_text(encoding="utf-8"))
    return {code: CatalogEntry(code=code, **fields) for code, fields in rows.items()}


def catalog_entry(code: str) -> CatalogEntry:
    """The entry of `code`; an uncatalogued code is a programming error and raises KeyError."""
    entries = catalog()
    if code not in entries:
        raise KeyError(f"error code {code!r} is not in {CATALOG_FILE.name}; add it there first")
    return entries[code]
