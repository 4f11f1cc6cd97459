"""Draws the sandbox's control page from what control.py hands it: plain HTML that works without
network and, but for refreshing itself, without script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingestion.sandbox.acts import Action
from ingestion.sandbox.credentials import environment
from ingestion.sandbox.faults import REQUEST_KINDS, WEBHOOK_KINDS
from ingestion.sandbox.page_look import SCRIPT, STYLE
from ingestion.sandbox.personas import PERSONAS
from ingestion.sandbox.webhook_formats import FORMATS
from ingestion.sandbox.webhook_outbox import STATES

_TONES = {
    "delivered": "good", "refused": "bad", "failed": "bad", "queued": "wait", "withheld": "wait",
}  # fmt: skip
_SINCE = (("", "any time"), ("5", "5 minutes"), ("60", "1 hour"), ("1440", "1 day"))
_LINKS = (
    ("/truth", "who is whom"),
    ("/sandbox/world", "seed, counts"),
    ("/sandbox/personas", "personas"),
    ("/sandbox/endpoints", "endpoints and kinds of faults"),
    ("/sandbox/faults", "faults waiting"),
    ("/sandbox/requests", "requests received"),
    ("/sandbox/webhooks", "webhooks sent"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything the page shows; `filters` has the names persona, system, state, since and fault;
    `replay` is what chooses the webhooks shown."""

    base_url: str
    seed: int
    anchor: datetime
    counts: Mapping[str, int]
    personas: Sequence[Mapping[str, Any]]
    actions: Mapping[str, Action]
    faults: Sequence[Mapping[str, Any]]
    endpoints: Sequence[str]
    requests: Sequence[Mapping[str, Any]]
    request_count: int
    webhooks: Sequence[Mapping[str, Any]]
    webhook_count: int
    webhook_states: Mapping[str, int]
    replay: Mapping[str, str]
    edge_url: str
    systems: Sequence[str]
    filters: Mapping[str, str]
    problem: str
    said: str


def page(shown: Shown) -> str:
    """The whole page."""
    note = ""
    if shown.problem:
        note = f'<p class="note bad" role="alert">{_text(shown.problem)}</p>'
    elif shown.said:
        note = f'<p class="note good" role="status">{_text(shown.said)}</p>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Handoff sandbox</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<header><h1>Handoff sandbox</h1>
<p class="soft">A simulated company, seed {shown.seed}, history up to {_when(shown.anchor)}.
Nobody here exists. Webhooks go to <code>{_text(shown.edge_url)}</code>.</p>{note}</header>
<nav><div><a href="#people">People</a><a href="#faults">Faults</a><a href="#webhooks">Webhooks</a>
<a href="#requests">Requests</a><a href="#here">What is here</a>
<a href="#connect">Connect</a></div></nav><main>
{_people(shown)}{_faults(shown)}{_logs(shown)}{_here(shown)}{_connect(shown)}
</main><footer>Everything on this page is also an address for programs; see docs/sandbox.md.</footer>
<script>{SCRIPT}</script></body></html>"""


def live_part(shown: Shown) -> str:
    """The two logs, for the page's script to put in place of the old ones."""
    return _webhooks(shown) + _requests(shown)


# ---- people -------------------------------------------------------------------------------------


def _people(shown: Shown) -> str:
    cards = "".join(_person(row, shown.actions) for row in shown.personas)
    return f"""<section id="people"><h2>People</h2>
<p class="soft">What must become of each after a run is written on the card. What they do now, Handoff
hears by a webhook or finds with its next poll.</p><div class="grid">{cards}</div></section>"""


def _person(row: Mapping[str, Any], actions: Mapping[str, Action]) -> str:
    expected = row["expected"]
    persons = expected["people"]
    outcomes = (
        (True, f"{persons} person" if persons == 1 else f"{persons} people"),
        (expected["is_mql"], "MQL" if expected["is_mql"] else "no MQL"),
        (expected["is_assigned"], "assigned" if expected["is_assigned"] else "not assigned"),
        (expected["is_pushed"], "in the CRM by us" if expected["is_pushed"] else "not pushed"),
        (expected["consent"] == "granted", f"consent {expected['consent']}"),
    )
    tags = "".join(
        f'<span class="tag{" good" if good else ""}">{_text(name)}</span>'
        for good, name in outcomes
    )
    records = ", ".join(f"{each['system']} {each['record_id']}" for each in row["records"])
    buttons = "".join(_button(row["name"], name, actions[name]) for name in row["acts"])
    return f"""<article class="card person"><h3>{_text(row["title"])}</h3>
<p class="soft">{_text(row["full_name"])}, {_text(row["job_title"])}, {_text(row["company"])}<br>
<code>{_text(row["email"])}</code></p><p>{_text(row["story"])}</p><div class="tags">{tags}</div>
<p class="soft">{_text(expected["why"])}</p>
<p class="soft">Records: {_text(records)}. Acts so far: {row["act_count"]}.
<a href="/sandbox/personas/{_text(row["name"])}">More</a></p>
<div class="acts">{buttons}</div></article>"""


def _button(persona: str, name: str, action: Action) -> str:
    choice = ""
    if len(action.choices) > 1:
        choice = _select(action.option, [(each, each) for each in action.choices], "", action.label)
    return (
        f'<form method="post" action="/sandbox/personas/{persona}/act">{choice}'
        f'<input type="hidden" name="action" value="{name}">'
        f'<button title="{_text(action.does)}">{_text(action.label)}</button></form>'
    )


# ---- faults -------------------------------------------------------------------------------------


def _faults(shown: Shown) -> str:
    waiting = "".join(_fault(row) for row in shown.faults)
    if waiting:
        waiting = _table(("Fault", "Where", "How often", "Details", ""), waiting)
    else:
        waiting = '<p class="soft">None is waiting: everything works.</p>'
    paths = [("/", "every endpoint")]
    mounts = sorted({"/" + path.split("/")[1] for path in shown.endpoints})
    paths += [(mount, f"all of {mount}") for mount in mounts]
    paths += [(path, path) for path in shown.endpoints]
    counts = "".join(
        f'<label>{label}<input name="{name}" type="number" min="{least}" step="{step}" '
        f'placeholder="{hint}"></label>'
        for label, name, least, step, hint in (
            ("How many times", "times", 1, 1, "1"),
            ("or share of them", "rate", 0.01, 0.01, "0.2"),
        )
    )
    methods = [("", "any"), *((name, name) for name in ("GET", "POST", "PATCH", "DELETE"))]
    people = [("", "anybody"), *((each.name, each.title) for each in PERSONAS)]
    systems = [("", "any"), *((name, name) for name in FORMATS)]
    request_form = f"""<form class="fields card" method="post" action="/sandbox/faults">
<h3 class="wide">Break an endpoint</h3>
<label class="wide">Endpoint{_select("path_prefix", paths)}</label>
<label class="wide">What goes wrong{_select("kind", _kinds(REQUEST_KINDS))}</label>
<label>Method{_select("method", methods)}</label>
<label data-kinds="status">Status<input name="status" type="number" min="400" max="599"
placeholder="503"></label>
<label data-kinds="status">Retry-After (s)<input name="retry_after" type="number" min="0"
placeholder="none"></label>
<label data-kinds="timeout slow">Seconds<input name="seconds" type="number" min="0" step="0.1"
placeholder="usual"></label>
<label data-kinds="partial">Every n-th row<input name="every" type="number" min="1"
placeholder="2"></label>
<label data-kinds="partial status">Error code<input name="error" placeholder="the vendor's"></label>
{counts}<label class="tick" data-kinds="status timeout reset"><input type="checkbox"
name="after_commit">only after it took effect</label>
<div class="wide"><button class="main">Set this fault</button></div></form>"""
    webhook_form = f"""<form class="fields card" method="post" action="/sandbox/faults">
<h3 class="wide">Break webhooks on their way out</h3>
<label class="wide">What goes wrong{_select("kind", _kinds(WEBHOOK_KINDS))}</label>
<label>System{_select("system", systems)}</label><label>Persona{_select("persona", people)}</label>
<label data-kinds="reorder delay skew">Seconds<input name="seconds" type="number" step="0.1"
placeholder="usual"></label>{counts}
<div class="wide"><button class="main">Set this fault</button></div></form>"""
    return f"""<section id="faults"><h2>Faults</h2>{waiting}
<div class="grid pair">{request_form}{webhook_form}</div></section>"""


def _kinds(kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, f"{name}: {does}".replace("`", "")) for name, does in kinds.items()]


def _fault(row: Mapping[str, Any]) -> str:
    times = "until removed" if row["times"] is None else f"{row['times']} times"
    often = f"{row['rate']:.0%} of them, {times}" if row["rate"] is not None else times
    if "path_prefix" in row:
        where = f"{row['method'] or 'any'} {row['path_prefix']}"
    else:
        where = f"webhooks of {row['system'] or 'any system'}, {row['persona'] or 'anybody'}"
    details = [
        f"{name.replace('_', ' ')} {row[name]}"
        for name in ("status", "retry_after", "seconds", "every", "error")
        if row.get(name) is not None
        and (name != "status" or row["kind"] == "status")
        and (name != "every" or row["kind"] == "partial")
    ]
    if row.get("after_commit"):
        details.append("after commit")
    remove = f'<form method="post" action="/sandbox/faults/{row["id"]}/remove"><button>Remove</button></form>'
    return _row(
        ("Fault", f'<span class="tag bad">{row["kind"]}</span>', ""),
        ("Where", f"<code>{_text(where)}</code>", "long"),
        ("How often", _text(often), ""),
        ("Details", _text(", ".join(details)), ""),
        ("", remove, ""),
    )


# ---- logs ---------------------------------------------------------------------------------------


def _logs(shown: Shown) -> str:
    chosen = shown.filters
    people = [("", "anybody"), *((each.name, each.title) for each in PERSONAS)]
    systems = [("", "all"), *((name, name) for name in shown.systems)]
    states = [("", "any"), *((name, name) for name in STATES)]
    hits = [("", "all"), ("yes", "broken by a fault")]
    return f"""<section id="logs"><h2>What was sent and received</h2>
<form class="fields card" method="get" action="/#logs">
<label>Persona{_select("persona", people, chosen["persona"])}</label>
<label>System{_select("system", systems, chosen["system"])}</label>
<label>In the last{_select("since", _SINCE, chosen["since"])}</label>
<label>Webhook state{_select("state", states, chosen["state"])}</label>
<label>Requests{_select("fault", hits, chosen["fault"])}</label>
<div><button class="main">Filter</button></div>
<label class="tick" id="refreshing"><input type="checkbox" id="refresh" checked>refresh by
itself</label></form>
<div id="live">{live_part(shown)}</div></section>"""


def _webhooks(shown: Shown) -> str:
    told = ", ".join(f"{count} {state}" for state, count in sorted(shown.webhook_states.items()))
    rows = "".join(_webhook(row) for row in reversed(shown.webhooks))
    again = ""
    if shown.webhook_count:
        fields = "".join(
            f'<input type="hidden" name="{name}" value="{_text(value)}">'
            for name, value in shown.replay.items()
        )
        again = (
            f'<form method="post" action="/sandbox/webhooks/replay">{fields}'
            f"<button>Replay {'all ' if shown.webhook_count > 1 else ''}{shown.webhook_count}</button></form>"
        )
    if rows:
        heads = ("Sent", "Persona", "Type", "State", "Answer", "Attempts", "Faults", "")
        rows = _table(heads, rows)
    else:
        rows = '<p class="soft">None yet: press a button on a card above.</p>'
    return f"""<div id="webhooks"><h2>Webhooks sent</h2>
<div class="row"><span class="soft">{_shown_of(shown.webhooks, shown.webhook_count)}{_text(told)}</span>{again}</div>
{rows}</div>"""


def _webhook(row: Mapping[str, Any]) -> str:
    replay = (
        f'<form method="post" action="/sandbox/webhooks/replay"><input type="hidden" name="ids" '
        f'value="{_text(row["id"])}"><button>Replay</button></form>'
    )
    state = f'<span class="tag {_TONES[row["state"]]}">{row["state"]}</span>'
    answer = str(row["status"]) if row["status"] is not None else (row["error"] or "")
    kind = f'<a href="/sandbox/webhooks/{_text(row["id"])}">{_text(row["type"])}</a>'
    return _row(
        ("Sent", _clock(row["at"]), ""),
        ("Persona", _text(row["persona"] or ""), ""),
        ("Type", f"{kind}<br><span class='soft'>{_text(row['system'])}</span>", ""),
        ("State", state, ""),
        ("Answer", _text(answer), "long" if row["status"] is None and answer else ""),
        ("Attempts", str(row["attempt_count"]), "number"),
        ("Faults", _text(", ".join(row["faults"])), ""),
        ("", replay, ""),
    )


def _requests(shown: Shown) -> str:
    rows = "".join(_request(row) for row in reversed(shown.requests))
    if rows:
        rows = _table(("Received", "System", "Request", "Status", "Rows", "Fault"), rows)
    else:
        rows = '<p class="soft">None yet: point Handoff here, as below, and run it.</p>'
    return f"""<div id="requests"><h2>Requests received</h2>
<div class="row"><span class="soft">{_shown_of(shown.requests, shown.request_count)}</span></div>
{rows}</div>"""


def _request(row: Mapping[str, Any]) -> str:
    status = row["status"]
    tone = "bad" if status is None or status >= 500 else "wait" if status >= 400 else "good"
    query = f"?{row['query'][:80]}" if row["query"] else ""
    return _row(
        ("Received", _clock(row["at"]), ""),
        ("System", _text(row["system"]), ""),
        ("Request", f"<code>{row['method']} {_text(row['path'] + query)}</code>", "long"),
        ("Status", f'<span class="tag {tone}">{status or "no answer"}</span>', ""),
        ("Rows", "" if row["rows"] is None else str(row["rows"]), "number"),
        ("Fault", f'<span class="tag bad">{row["fault"]}</span>' if row["fault"] else "", ""),
    )


def _shown_of(rows: Sequence[Any], count: int) -> str:
    if not count:
        return ""
    return f"Newest {len(rows)} of {count}. " if count > len(rows) else f"{count} in all. "


# ---- the rest -----------------------------------------------------------------------------------


def _here(shown: Shown) -> str:
    counts = "".join(
        f"<div><span>{_text(name)}</span><b>{count}</b></div>"
        for name, count in shown.counts.items()
    )
    mounts = sorted({"/" + path.split("/")[1] for path in shown.endpoints})
    systems = ", ".join(f"<code>{mount}</code>" for mount in mounts)
    links = " · ".join(f'<a href="{path}">{_text(name)}</a>' for path, name in _LINKS)
    return f"""<section id="here"><h2>What is here</h2><div class="card">
<p>The systems answer under {systems}.</p><div class="counts">{counts}</div><p class="soft">As JSON: {links}</p>
<form method="post" action="/sandbox/reset"><button
onclick="return confirm('Forget all that was written, done and sent?')">Reset everything</button></form>
</div></section>"""


def _connect(shown: Shown) -> str:
    variables = "\n".join(
        f"export {name}='{value}'"
        for name, value in environment(shown.base_url, shown.seed).items()
    )
    return f"""<section id="connect"><h2>Point Handoff here</h2>
<pre id="variables">{_text(variables)}</pre>
<div class="row"><button id="copy">Copy</button><span class="soft">Then <code>handoff serve</code> and
<code>handoff run</code>, or <code>handoff work</code>, in that shell.</span></div></section>"""


def _table(heads: Iterable[str], rows: str) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(*cells: tuple[str, str, str]) -> str:
    """Cells of (label for narrow screens, HTML, class)."""
    return (
        "<tr>"
        + "".join(
            f'<td{f" class={style!r}" if style else ""} data-label="{label}">{content}</td>'
            for label, content, style in cells
        )
        + "</tr>"
    )


def _select(
    name: str, choices: Iterable[tuple[str, str]], chosen: str = "", label: str = ""
) -> str:
    options = "".join(
        f'<option value="{_text(value)}"{" selected" if value == chosen and chosen else ""}>'
        f"{_text(told)}</option>"
        for value, told in choices
    )
    spoken = f' aria-label="{_text(label)}"' if label else ""
    return f'<select name="{name}"{spoken}>{options}</select>'


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _clock(text: str) -> str:
    at = datetime.fromisoformat(text)
    return f'<time datetime="{_text(text)}" title="{_text(text)}">{at:%m-%d %H:%M:%S}</time>'


def _text(value: Any) -> str:
    return html.escape(str(value))
