"""The rules values were normalised by are part of what a warehouse was made with."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from ingestion.normalize import release

ROOT = Path(__file__).parents[2]


def test_every_library_that_normalises_is_in_the_release_and_bounded() -> None:
    used = set()
    for path in (ROOT / "ingestion" / "normalize").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            used |= {name.partition(".")[0] for name in names}
    installed = packages_distributions()
    libraries = {installed[name][0].lower().replace("_", "-") for name in used if name in installed}
    assert libraries - {"handoff", "pyarrow"} == set(release.PACKAGES)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package in release.PACKAGES:
        assert any(line.startswith(package) and "<" in line for line in declared["dependencies"])


def test_another_release_of_a_list_is_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    release.release.cache_clear()
    before = release.release()
    assert before == release.release()
    release.release.cache_clear()
    monkeypatch.setattr(release, "version", lambda package: f"newer {package}")
    assert release.release() != before
    release.release.cache_clear()
