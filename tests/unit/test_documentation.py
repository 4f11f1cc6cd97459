"""The documents name what exists: settings, commands with their options, codes, files and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from click import Command, Context, Group

from ingestion.errors.catalog import catalog
from ingestion.settings import Settings
from orchestration.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CHANGELOG.md", ROOT / "README.md"])
SETTING = re.compile(r"^\| `(HANDOFF_[A-Z_]+)` \| (?:`([^`]*)`)? ?\|", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^ *```\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# Upper case with an underscore: what looks like a code of ours and is none.
OTHERS = re.compile(r"HANDOFF_[A-Z_]*|PROPERTIES|[A-Z]+@[A-Z.]+")


def commands(text: str) -> list[str]:
    """Lines of fenced blocks that begin with `handoff`."""
    lines = [line.strip() for block in FENCE.findall(text) for line in block.splitlines()]
    return [line for line in lines if line.startswith("handoff ")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_going_live_lists_every_setting_with_its_default() -> None:
    listed = dict(SETTING.findall((ROOT / "docs/go-live.md").read_text(encoding="utf-8")))
    expected = {
        f"HANDOFF_{name.upper()}": "" if field.default in (None, "") else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert listed == expected


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_a_page_shows_exists_with_its_options(page: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, Group)
    for line in commands(page.read_text(encoding="utf-8")):
        verb, *words = shlex.split(line, comments=True)[1:]
        command: Command | None = group.commands.get(verb)
        assert command is not None, f"{line}: no verb {verb}"
        if isinstance(command, Group):
            # `add|list|rotate…` names several at once.
            named = words[0].rstrip("…").split("|") if words else [""]
            missing = [name for name in named if name not in command.commands]
            assert not missing, f"{line}: {verb} has no {missing}"
            command = command.commands[named[0]]
        known = {option for each in command.get_params(Context(command)) for option in each.opts}
        unknown = [word for word in words if word.startswith("--") and word not in known]
        assert not unknown, f"{line}: {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=name_of)
def test_every_code_a_runbook_names_is_in_the_catalog(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    codes = {
        code for code in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text) if not OTHERS.fullmatch(code)
    }
    assert codes
    assert codes <= catalog().keys()
