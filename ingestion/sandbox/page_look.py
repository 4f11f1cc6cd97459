"""The control page's style sheet and script: all of it inline, nothing from another host."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#5b6675;--line:#dfe3e9;
--accent:#1f5fbf;--accent-ink:#fff;--good:#17743c;--good-bg:#e2f4e8;--bad:#a8261c;--bad-bg:#fbe6e4;
--wait:#7a5300;--wait-bg:#fbf0d3;--code:#eef1f5}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b212a;--ink:#e6eaf0;--soft:#98a4b3;
--line:#303946;--accent:#6ea8ff;--accent-ink:#0d1420;--good:#7fd7a0;--good-bg:#163323;--bad:#ff9d94;
--bad-bg:#3d1c1a;--wait:#f0c766;--wait-bg:#382c10;--code:#232b36}}
*{box-sizing:border-box}
[hidden]{display:none!important}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main,header{max-width:76rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.4rem}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.15rem;margin:2.2rem 0 .3rem}
h3{font-size:1rem;margin:0}
p{margin:.3rem 0}
.soft{color:var(--soft)}
a{color:var(--accent)}
nav{position:sticky;top:0;z-index:2;background:var(--bg);border-bottom:1px solid var(--line);
margin-top:.7rem}
nav div{max-width:76rem;margin:0 auto;display:flex;gap:1.1rem;overflow-x:auto;padding:.55rem 1rem;
white-space:nowrap}
nav a{text-decoration:none}
section{scroll-margin-top:3rem}
.grid{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));
margin-top:.7rem}
.pair{grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1rem}
.person{display:flex;flex-direction:column}
.person .acts{margin-top:auto;padding-top:.6rem}
.acts{display:flex;flex-wrap:wrap;gap:.4rem}
.acts form,.row form{display:flex;gap:.25rem;margin:0;max-width:100%}
.acts select{min-width:0;flex:0 1 11rem}
.tags{display:flex;flex-wrap:wrap;gap:.3rem;margin:.5rem 0}
.tag{border-radius:1rem;padding:.05rem .6rem;font-size:.82rem;background:var(--code);
color:var(--soft);white-space:nowrap}
.good{background:var(--good-bg);color:var(--good)}
.bad{background:var(--bad-bg);color:var(--bad)}
.wait{background:var(--wait-bg);color:var(--wait)}
.note{border-radius:.5rem;padding:.6rem .9rem;margin:1rem 0 0;overflow-wrap:anywhere}
button,select,input{font:inherit;font-size:.88rem;color:inherit;background:var(--card);
border:1px solid var(--line);border-radius:.4rem;padding:.3rem .6rem;min-height:2.1rem;max-width:100%}
button{cursor:pointer;white-space:nowrap;background:var(--code)}
button:hover{border-color:var(--accent)}
button.main{background:var(--accent);border-color:var(--accent);color:var(--accent-ink)}
:focus-visible{outline:2px solid var(--accent);outline-offset:1px}
form.fields{display:grid;gap:.5rem .8rem;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));
align-items:end;align-content:start}
form.fields .wide{grid-column:1/-1}
label{display:flex;flex-direction:column;font-size:.82rem;color:var(--soft);gap:.15rem}
label.tick{flex-direction:row;align-items:center;gap:.4rem;min-height:2.1rem}
body.gone #refreshing::after{content:'(the sandbox does not answer)';color:var(--bad)}
label input,label select{color:var(--ink);width:100%}
label.tick input{width:auto;min-height:0}
.row{display:flex;flex-wrap:wrap;gap:.5rem .8rem;align-items:center;margin:.5rem 0}
.table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem;
margin-top:.6rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid var(--line);vertical-align:top;
white-space:nowrap}
th{color:var(--soft);font-weight:600}
tr:last-child td{border-bottom:0}
td.long{white-space:normal;overflow-wrap:anywhere;min-width:13rem}
td.number,th.number{text-align:right}
code,pre{font:.86rem/1.5 ui-monospace,monospace}
code{background:var(--code);border-radius:.25rem;padding:.05rem .3rem;overflow-wrap:anywhere}
pre{background:var(--code);border-radius:.5rem;padding:.8rem 1rem;overflow:auto;margin:.5rem 0}
details summary{cursor:pointer}
.counts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(17rem,100%),1fr));gap:.1rem 1.2rem;
margin:.6rem 0;font-size:.9rem}
.counts div{display:flex;justify-content:space-between;border-bottom:1px dotted var(--line)}
footer{max-width:76rem;margin:2.5rem auto 2rem;padding:0 1rem;color:var(--soft);font-size:.88rem}
@media (max-width:44rem){
.table{background:none;border:0}
table,tbody,tr,td{display:block}
thead{display:none}
tr{background:var(--card);border:1px solid var(--line);border-radius:.6rem;margin-bottom:.5rem;
padding:.35rem .7rem}
td,td.number{border:0;padding:.1rem 0;display:flex;gap:.6rem;white-space:normal;text-align:left;
overflow-wrap:anywhere;min-width:0}
td.long{min-width:0}
td::before{content:attr(data-label);flex:0 0 5rem;color:var(--soft)}
td:empty{display:none}
}
"""

# Replaces the two logs while the page is looked at and nothing in them is being used.
SCRIPT = """
const live = document.getElementById('live');
const state = document.getElementById('refresh');
async function refresh() {
  if (document.hidden || !state.checked || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch('/sandbox/live' + location.search);
    if (!answer.ok) throw new Error(answer.status);
    live.innerHTML = await answer.text();
    document.body.classList.remove('gone');
  } catch (error) { document.body.classList.add('gone'); }
}
setInterval(refresh, 2000);
document.querySelectorAll('[data-kinds]').forEach(field => {
  const kind = field.form.elements.kind;
  const show = () => { field.hidden = !field.dataset.kinds.split(' ').includes(kind.value); };
  kind.addEventListener('change', show);
  show();
});
const copy = document.getElementById('copy');
copy.addEventListener('click', async () => {
  const variables = document.getElementById('variables');
  try {
    await navigator.clipboard.writeText(variables.textContent);
    copy.textContent = 'Copied';
  } catch (error) {
    getSelection().selectAllChildren(variables);
    copy.textContent = 'Selected: press Ctrl-C';
  }
});
"""
