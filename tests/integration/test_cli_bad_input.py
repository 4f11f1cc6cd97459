"""What people get wrong: each time the command line names the value and the remedy, ends with its code, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from orchestration.policy_rows import load_policy_rows

ROOT = Path(__file__).parents[2]


def contact(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/{number}",
        "time": "2026-04-01T08:30:00Z",
        "data": {"record_id": str(number), "system": "web", "email": f"p{number}@example.com"},
    } | changes


def activity(number: int, **fields: Any) -> dict[str, Any]:
    data = {"activity_id": str(number), "system": "web", "activity_type": "page_view", **fields}
    return contact(number, type="com.handoff.activity", subject=f"activity/web/{number}", data=data)


def written(path: Path, *lines: object) -> Path:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def in_log(settings: Settings) -> tuple[int, list[bytes]]:
    """How many events were accepted, and what was quarantined."""
    if not settings.log_path.exists():
        return 0, []
    with contextlib.closing(open_reader(settings)) as log:
        return log.last_seq(), [entry.rejection.payload for entry in log.read_quarantine(0, 100)]


# Files


def test_an_unknown_column_is_named_with_what_to_do_and_nothing_is_taken(
    empty: Any, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "people.csv", "record_id,occurred_at,shoe_size", "1,2026-04-01T00:00:00Z,38"
    )
    said = empty.handoff("ingest", str(file), "--type", "contact", "--system", "salesforce")
    assert said.code == 2
    assert "COLUMN_UNKNOWN" in said.out
    assert "shoe_size" in said.out
    assert "mapping" in said.out
    assert "Nothing of this file was taken" in said.out
    assert in_log(empty.settings) == (0, [])


def test_a_malformed_line_is_kept_with_its_number_and_the_lines_around_it_are_taken(
    empty: Any, tmp_path: Path
) -> None:
    broken = '{"specversion": "1.0", "id": "e2",'
    file = written(tmp_path / "mixed.jsonl", contact(1), broken, contact(3))
    said = empty.handoff("ingest", str(file))
    assert said.code == 1
    assert "mixed.jsonl:2: SCHEMA_INVALID" in said.out
    assert in_log(empty.settings) == (2, [broken.encode()])


def test_a_wrong_enumeration_value_is_named_with_the_right_ones(empty: Any, tmp_path: Path) -> None:
    file = written(
        tmp_path / "clicks.jsonl", activity(1), activity(2, activity_type="form_submitted")
    )
    said = empty.handoff("ingest", str(file))
    assert said.code == 1
    assert "ENUM_UNKNOWN" in said.out
    assert "form_submitted" in said.out
    assert "form_submit," in said.out
    accepted, refused = in_log(empty.settings)
    assert accepted == 1
    assert [json.loads(payload)["id"] for payload in refused] == ["e2"]


def test_a_date_that_cannot_be_read_is_named_with_the_option_that_says_how(
    empty: Any, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "people.csv",
        "key,mail,born",
        "1,ada@example.com,1815-12-10",
        "2,bob@example.com,10th of May",
    )
    mapping = tmp_path / "people.yml"
    mapping.write_text(
        "type: contact\nsystem: web\nrecord_id: key\noccurred_at: {constant: '2026-04-01T00:00:00Z'}\n"
        "columns: {email: mail, birth_date: {column: born, format: '%Y-%m-%d'}}\n",
        encoding="utf-8",
    )
    said = empty.handoff("ingest", str(file), "--mapping", str(mapping))
    assert said.code == 1
    assert "DATE_UNPARSABLE" in said.out
    assert "10th of May" in said.out
    assert "format:" in said.out
    assert in_log(empty.settings)[0] == 1


def test_an_unknown_system_is_answered_with_the_known_ones(empty: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "people.csv", "record_id,occurred_at", "1,2026-04-01T00:00:00Z")
    said = empty.handoff("ingest", str(file), "--type", "contact", "--system", "crmm", "--json")
    assert said.code == 2
    [told] = said.json["files"]
    assert told["refused"]["code"] == "SYSTEM_UNKNOWN"
    assert "unknown system 'crmm'" in told["refused"]["message"]
    assert "salesforce" in told["refused"]["message"]
    assert in_log(empty.settings) == (0, [])


def test_a_file_that_is_not_there_is_named(empty: Any) -> None:
    said = empty.handoff("ingest", "nowhere.csv", "--type", "contact", "--system", "web")
    assert said.code == 2
    assert "no file 'nowhere.csv'" in said.out


def test_a_dry_run_says_what_would_happen_and_writes_nothing(empty: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "mixed.jsonl", contact(1), "{")
    said = empty.handoff("ingest", str(file), "--dry-run")
    assert said.code == 1
    assert "Dry run" in said.out
    assert in_log(empty.settings) == (0, [])


# Policies


def test_a_policy_that_contradicts_itself_is_refused_with_file_and_line_and_changes_nothing(
    copied: Any, tmp_path: Path
) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "models" / "policies", policies)
    routing = policies / "routing" / "v1.yml"
    text = routing.read_text(encoding="utf-8")
    assert "  A: 15\n" in text
    routing.write_text(text.replace("  A: 15\n", "  A: 900\n"), encoding="utf-8")
    line = 1 + text[: text.index("  A: 15\n")].count("\n")
    before = copied.marts()

    said = copied.handoff("run", HANDOFF_POLICIES=str(policies))
    assert said.code == 4
    assert "POLICY_INVALID" in said.err
    assert f"v1.yml:{line}" in said.err or f"v1.yml:{line + 1}" in said.err
    assert "Traceback" not in said.err
    assert copied.marts() == before
    doctor = copied.handoff("doctor", HANDOFF_POLICIES=str(policies))
    assert doctor.code == 4
    assert "POLICY_INVALID" in doctor.out


def test_a_policy_that_decisions_were_made_with_cannot_be_changed(
    copied: Any, tmp_path: Path
) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "models" / "policies", policies)
    routing = policies / "routing" / "v1.yml"
    text = routing.read_text(encoding="utf-8")
    routing.write_text(text.replace("  A: 15\n", "  A: 10\n"), encoding="utf-8")
    with pytest.raises(HandoffError) as refused:
        load_policy_rows(Settings(home=copied.home, policies=policies))
    assert refused.value.code == "POLICY_FROZEN"
    assert refused.value.entry.exit_code == 4
    assert "routing" in refused.value.message
    assert "put the change into v2.yml" in refused.value.remedy


# The warehouse


def test_a_corrupt_warehouse_is_rebuilt_from_the_log_by_doing_what_the_message_says(
    copied: Any, ran: Any
) -> None:
    before = copied.marts(without=["loaded_at"])
    assert before["fct_mqls"].total() > 10
    warehouse = copied.settings.warehouse_path
    content = bytearray(warehouse.read_bytes())
    content[:65536] = bytes(range(256)) * 256
    warehouse.write_bytes(content)

    said = copied.handoff("run")
    assert said.code == 4
    assert "WAREHOUSE_CORRUPT" in said.err
    assert str(warehouse) in said.err
    assert "Move the file away and run `handoff run --full-refresh`" in said.err
    doctor = copied.handoff("doctor")
    assert doctor.code == 4
    assert "WAREHOUSE_CORRUPT" in doctor.out
    # Readers have a file of their own and notice nothing.
    assert copied.handoff("query", "select count(*) from marts.fct_mqls").code == 0

    warehouse.rename(warehouse.with_suffix(".damaged"))
    again = copied.handoff(*ran.arguments, "--full-refresh")
    assert again.code == 0, again.err
    assert "salesforce is not configured: decided and published, nothing pushed" in again.out
    after = copied.marts(without=["loaded_at"])
    assert {name for name in before if before[name] != after[name]} == set()
    assert after.keys() == before.keys()
    assert copied.handoff("doctor").code == 0


HOLD_LOCK = """
import sys
from pathlib import Path
from ingestion.settings import Settings
from orchestration.writer_lock import warehouse_writer
with warehouse_writer(Settings(home=Path(sys.argv[1]))):
    print("holding", flush=True)
    sys.stdin.read()
"""

HOLD_CONNECTION = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1] + "/warehouse.duckdb")
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("held", [HOLD_LOCK, HOLD_CONNECTION], ids=["lock", "connection"])
def test_a_second_writer_hears_who_the_first_one_is(empty: Any, held: str) -> None:
    empty.home.mkdir()
    duckdb.connect(str(empty.settings.warehouse_path)).close()
    with subprocess.Popen(
        [sys.executable, "-c", held, str(empty.home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        said = empty.handoff("run")
        assert holder.stdin is not None
        holder.stdin.close()
    assert said.code == 4
    assert "WAREHOUSE_LOCKED" in said.err
    assert str(holder.pid) in said.err
    assert "handoff query" in said.err
    assert "Traceback" not in said.err


# Questions


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["query", "select 1"], 4, ["SERVING_MISSING", "handoff run"]),
        (["explain", "ada@example.com"], 4, ["SERVING_MISSING", "handoff run"]),
        (["plan", "salesforce"], 4, ["SERVING_MISSING", "handoff run"]),
        (["plan", "crmm"], 2, ["SYSTEM_UNKNOWN", "'crmm'", "salesforce"]),
        (["apply", "salesforce-0000"], 2, ["PLAN_UNKNOWN", "salesforce-0000", "handoff plan"]),
        (["run", "--as-of", "yesterday"], 2, ["BAD_REQUEST", "'yesterday'", "2026-11-01T00:00Z"]),
        (["plan", "salesforce", "--as-of", "32.13.2026"], 2, ["BAD_REQUEST", "'32.13.2026'"]),
        (["explain", "x", "--as-of", ""], 2, ["BAD_REQUEST", "''"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].islower() else "",
)
def test_what_cannot_be_answered_yet_says_what_to_do_first(
    empty: Any, arguments: list[str], code: int, told: list[str]
) -> None:
    said = empty.handoff(*arguments)
    assert said.code == code
    assert said.out == ""
    for words in told:
        assert words in said.err
    as_json = empty.handoff(*arguments, "--json")
    assert as_json.code == code
    assert as_json.json["error"]["code"] == told[0]
    assert as_json.json["error"]["remedy"]
    # Asking leaves nothing behind.
    assert not empty.settings.warehouse_path.exists()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select * from marts.fct_mql", "fct_mqls"),
        ("selec 1", "syntax error"),
        ("", "holds no statement"),
        ("/* nothing */", "holds no statement"),
        ("select nothing_here from marts.fct_mqls", "nothing_here"),
    ],
)
def test_sql_that_cannot_run_is_answered_in_the_words_of_the_engine(
    company: Any, sql: str, told: str
) -> None:
    said = company.handoff("query", sql)
    assert said.code == 2
    assert "QUERY_INVALID" in said.err
    assert told in said.err
    assert "show all tables" in said.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HANDOFF_EDGE_PORT", "abc"),
        ("HANDOFF_DUCKDB_THREADS", "0"),
        ("HANDOFF_MAX_BODY_BYTES", "1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_value(
    empty: Any, variable: str, value: str
) -> None:
    said = empty.handoff("doctor", **{variable: value})
    assert said.code == 4
    assert said.err.startswith(f"SETTING_INVALID: {variable}='{value}': ")
    as_json = empty.handoff("run", "--json", **{variable: value})
    assert as_json.code == 4
    assert as_json.json["error"]["code"] == "SETTING_INVALID"


@pytest.mark.parametrize(
    "home",
    [
        pytest.param("{file}", id="a file"),
        pytest.param("{file}/below", id="below a file"),
        pytest.param("/proc/nope", id="where none can be made"),
    ],
)
@pytest.mark.parametrize("verb", ["ingest", "run", "serve", "doctor", "sandbox", "ui", "demo"])
def test_a_home_that_cannot_hold_state_is_named_by_every_verb(
    empty: Any, tmp_path: Path, verb: str, home: str
) -> None:
    file = written(tmp_path / "file.jsonl", contact(1))
    arguments = {"ingest": ["ingest", str(file)]}.get(verb, [verb])
    wanted = home.format(file=file)
    said = empty.handoff(*arguments, HANDOFF_HOME=wanted)
    assert said.code == 4
    told = said.out if verb == "doctor" else said.err
    assert f"SETTING_INVALID: HANDOFF_HOME='{wanted}' cannot hold state: " in told
    assert "a folder of yours" in told
    assert "Traceback" not in said.err
    assert not ({"export", "edge on"} & set(said.out.split()))
    assert file.read_text() == json.dumps(contact(1)) + "\n"


def test_the_version_is_the_installed_one(empty: Any) -> None:
    said = empty.handoff("--version")
    assert (said.code, said.out, said.err) == (0, f"handoff {version('handoff')}\n", "")
    assert "--version" in empty.handoff("--help").out


def test_an_edge_without_a_log_to_write_ends_before_it_says_it_is_there(empty: Any) -> None:
    empty.settings.log_dir.mkdir(parents=True)
    empty.settings.log_path.write_bytes(b"this is no database" * 100)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = empty.start("serve", "--port", str(port)).wait(20)
    assert said.code == 4
    assert said.err.startswith("LOG_CORRUPT: ")


@pytest.mark.parametrize("arguments", [["bogus"], ["query"], ["ingest"], ["run", "--asof", "x"]])
def test_wrong_usage_ends_with_two_and_points_to_the_help(empty: Any, arguments: list[str]) -> None:
    said = empty.handoff(*arguments)
    assert said.code == 2
    assert "--help" in said.err


@pytest.mark.parametrize(
    "verb",
    [
        "demo",
        "ingest",
        "run",
        "plan",
        "apply",
        "explain",
        "query",
        "serve",
        "sandbox",
        "ui",
        "doctor",
    ],
)
def test_the_help_of_every_verb_says_what_it_does_and_what_each_option_means(
    empty: Any, verb: str
) -> None:
    said = empty.handoff(verb, "--help")
    assert said.code == 0
    head, _, options = said.out.partition("Options:")
    assert len(head.splitlines()) > 2
    for line in options.splitlines():
        if line.startswith("  --"):
            assert len(line.split()) > 2 or line.strip().count(" ") > 1, line
    assert not empty.home.exists()


def test_a_bad_system_setting_does_not_lose_what_others_sent(empty: Any, tmp_path: Path) -> None:
    empty.handoff("ingest", str(written(tmp_path / "one.jsonl", contact(1))))
    said = empty.handoff(
        "run",
        HANDOFF_SALESFORCE_URL="http://127.0.0.1:9/salesforce",
        HANDOFF_SALESFORCE_CLIENT_ID="x",
    )
    assert said.code == 4
    assert "SYSTEM_NOT_CONFIGURED" in said.err
    assert "HANDOFF_SALESFORCE_CLIENT_SECRET" in said.err
    assert "Traceback" not in said.err
    assert in_log(empty.settings)[0] == 1
