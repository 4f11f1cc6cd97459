"""Releases of contracts as text for people: a changelog, and the beginning of a migration guide."""

from __future__ import annotations

from collections.abc import Sequence

from ingestion.contracts.compatibility import RULES, Change
from ingestion.contracts.contract_sets import ContractSet
from ingestion.contracts.releases import Release

# What a sender does about a change; what only readers meet is said to readers.
_ADVICE = {
    "field_removed": "Stop sending it; what you need kept goes under `custom`.",
    "required_field_added": "Send it with every event.",
    "field_became_required": "Send it with every event.",
    "null_refused": "Send a value, or leave the field out.",
    "type_narrowed": "Send the type named.",
    "enum_added": "Send one of the values listed.",
    "enum_value_removed": "Send another value of the list.",
    "column_renamed": "Select the new column name.",
    "column_type_changed": "Cast, or read the new type.",
    "field_became_optional": "Expect null.",
}


def changelog(releases: Sequence[Release]) -> str:
    """Markdown: one section per contract that differs, breaking changes first."""
    if not releases:
        return "No contract changed.\n"
    lines: list[str] = []
    for release in releases:
        lines += [f"### {_title(release)}", ""]
        for change in sorted(release.changes, key=lambda change: not change.is_breaking):
            lines.append(f"- {'**breaking** ' if change.is_breaking else ''}{_line(change)}")
        lines += [f"- **refused**: {words}" for words in release.refusals]
        if not release.changes and not release.refusals:
            lines.append("- removed after its sunset" if release.version is None and release.previous else "- new")  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def migration_guide(releases: Sequence[Release], new: ContractSet) -> str:
    """Markdown: for every new major version what changes for whom, what to do, and until when; the reasons are left to its author."""
    breaking = [release for release in releases if release.previous and release.version and release.is_breaking]  # fmt: skip
    if not breaking:
        return "No new version breaks anything: nobody has to migrate.\n"
    lines: list[str] = []
    for release in breaking:
        assert release.previous is not None
        assert release.version is not None
        name = f"urn:handoff:contract:{release.subject}"
        end = new.lifecycles.get((release.subject, release.previous))
        lines += [
            f"# From {release.subject} {release.previous} to {release.version}",
            "",
            "<!-- Say here why the version was needed, and whom to ask. -->",
            "",
            "## What changes",
            "| Where | Rule | Whom it hurts | What | What to do |",
            "|---|---|---|---|---|",
        ]
        for change in release.changes:
            advice = _ADVICE.get(change.rule, "") if change.is_breaking else "Nothing."
            lines.append(
                f"| `{change.path or '/data'}` | `{change.rule}` | {RULES[change.rule].hurts}"
                f" | {change.words} | {advice} |"
            )
        lines += ["", "## How", f"1. Send `dataschema: {name}:{release.version}` with the new fields."]  # fmt: skip
        if (release.subject, release.previous, release.version) in new.upcasts:
            lines.append(
                f"2. Until then `{name}:{release.previous}` is taken and brought up to {release.version} when it"
                f" lands, by `{release.subject}/upcast_{release.previous}_{release.version}.yml`."
            )
        if end is None:
            lines.append(f"3. {release.previous} has no end yet (`ingestion/contracts/lifecycle.yml`).")  # fmt: skip
        else:
            lines.append(
                f"3. From {end.deprecated_on} answers carry `Deprecation` and `Sunset`; from {end.sunset_on} on"
                f" {release.previous} is refused with `VERSION_SUNSET`."
            )
        lines.append("")
    return "\n".join(lines)


def _title(release: Release) -> str:
    if release.version is None:
        return f"{release.subject} {release.previous or ''}".strip()
    verdict = "breaking" if release.is_breaking else "compatible"
    if release.previous is None:
        return f"{release.subject} {release.version}, the first version"
    if release.previous == release.version:
        return f"{release.subject} {release.version}, edited in place"
    return f"{release.subject} {release.version} ({verdict} with {release.previous})"


def _line(change: Change) -> str:
    return f"`{change.rule}` at `{change.path or '/data'}`: {change.words}"
