"""The booking page's style sheet and its one script: inline, nothing from another host."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#5b6675;--line:#dfe3e9;
--accent:#1f5fbf;--accent-ink:#fff;--good:#17743c;--good-bg:#e2f4e8;--bad:#a8261c;--bad-bg:#fbe6e4;--code:#eef1f5}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b212a;--ink:#e6eaf0;--soft:#98a4b3;
--line:#303946;--accent:#6ea8ff;--accent-ink:#0d1420;--good:#7fd7a0;--good-bg:#163323;--bad:#ff9d94;
--bad-bg:#3d1c1a;--code:#232b36}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:46rem;margin:0 auto;padding:1.2rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0}
h2{font-size:1rem;margin:1.3rem 0 .5rem}
p{margin:.35rem 0}
.soft{color:var(--soft)}
a{color:var(--accent)}
.card{background:var(--card);border:1px solid var(--line);border-radius:.7rem;padding:1rem 1.1rem;margin:1rem 0}
.note{border-radius:.5rem;padding:.7rem 1rem;margin:1rem 0;background:var(--code)}
.good{background:var(--good-bg);color:var(--good)}
.bad{background:var(--bad-bg);color:var(--bad)}
.when{font-size:1.2rem;font-weight:600}
.times{display:grid;gap:.5rem;grid-template-columns:repeat(auto-fill,minmax(5.6rem,1fr));list-style:none;margin:0;padding:0}
.times a,button,.button{display:block;width:100%;font:inherit;text-align:center;text-decoration:none;cursor:pointer;
color:var(--accent);background:var(--card);border:1px solid var(--accent);border-radius:.5rem;padding:.6rem .7rem;min-height:2.8rem}
.times a:hover,button:hover,.button:hover{border-width:2px;padding:calc(.6rem - 1px) calc(.7rem - 1px)}
button.main{background:var(--accent);color:var(--accent-ink)}
button.bad{border-color:var(--bad);color:var(--bad);background:var(--card)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.row{display:flex;flex-wrap:wrap;gap:.6rem;align-items:end;margin:.8rem 0}
.row>*{flex:1 1 9rem}
label{display:flex;flex-direction:column;gap:.2rem;font-size:.9rem;color:var(--soft)}
input,select{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:.5rem;
padding:.55rem .6rem;min-height:2.8rem;width:100%}
.row button{width:auto}
nav{display:flex;justify-content:space-between;gap:1rem;margin:1.2rem 0}
dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem .9rem;margin:.6rem 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.85rem;margin-top:2rem}
"""

# Only where no zone was chosen: the browser's own, if the list has it.
SCRIPT = """
const chosen = new URL(location.href);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const list = document.getElementById('zone');
if (list && zone && !chosen.searchParams.has('zone') && list.value !== zone
    && [...list.options].some(option => option.value === zone)) {
  chosen.searchParams.set('zone', zone);
  location.replace(chosen);
}
"""


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# CSP Level 3: no source at all but what stands on the page as it is written here.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; img-src data:;"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    # The address is the right to book: it goes to no other page and into no cache or index.
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-robots-tag": "noindex, nofollow",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
