"""Writes the JSON Schemas that editors complete and check policy files with; the pydantic models
are the source."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from models.policies.documents import Rollout
from models.policies.kinds import KINDS
from models.policies.subscribers import SubscribersDocument

SCHEMA_FOLDER = Path(__file__).with_name("schemas")


def schema_texts() -> dict[str, str]:
    """File name to content of every schema."""
    from pydantic import BaseModel

    sources: dict[str, type[BaseModel]] = {
        **KINDS,
        "rollout": Rollout,
        "subscribers": SubscribersDocument,
    }
    texts: dict[str, str] = {}
    for name, model in sources.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(),
            "title": f"Handoff policy: {name}",
        }
        texts[f"{name}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return texts


def stale_files(folder: Path = SCHEMA_FOLDER) -> list[str]:
    """Names of files that differ from what would be written, are missing, or have no source any
    more."""
    texts = schema_texts()
    stale = [
        name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    return stale + sorted(file.name for file in folder.glob("*.json") if file.name not in texts)


def main(arguments: list[str]) -> int:
    """`--check` names stale files and returns 1; without it the files are written."""
    stale = stale_files()
    if "--check" in arguments:
        for name in stale:
            print(f"stale: models/policies/schemas/{name}; run python -m models.policies.generate")
        return 1 if stale else 0
    SCHEMA_FOLDER.mkdir(exist_ok=True)
    texts = schema_texts()
    for name in stale:
        if name in texts:
            (SCHEMA_FOLDER / name).write_text(texts[name], encoding="utf-8")
        else:
            (SCHEMA_FOLDER / name).unlink()
        print(f"wrote models/policies/schemas/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
