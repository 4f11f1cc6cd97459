"""Keeps the Data Docs pages as new as the results they show; how pages look is `expectations.docs`'s matter."""

from __future__ import annotations

from pathlib import Path

from ingestion.settings import Settings


def results_folder(settings: Settings) -> Path:
    """Where the newest outcome of each table and suite is kept."""
    return settings.artifacts_dir / "expectations"


def refresh_data_docs(settings: Settings) -> Path | None:
    """Build the pages when a result is newer than they are; returns their index.html, None while nothing was ever judged.

    A run that judged nothing new costs a look at the folder: Great Expectations, which takes seconds to import, is then left alone.
    """
    index = settings.artifacts_dir / "data_docs" / "index.html"
    changed = [file.stat().st_mtime_ns for file in results_folder(settings).glob("*.json")]
    if not changed:
        return index if index.is_file() else None
    if index.is_file() and index.stat().st_mtime_ns > max(changed):
        return index
    from expectations.docs import build_data_docs
    from expectations.kept_results import kept_results

    return build_data_docs(kept_results(results_folder(settings)), index.parent)
