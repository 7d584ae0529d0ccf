// The live page: one stream down, plain requests up. Everything shown comes from the run's API.
import * as curves from "/static/curves.js";
import * as form from "/static/form.js";
import * as map from "/static/map.js";
import { $, formatOf, keep, make, says, seconds, write } from "/static/words.js";

const api = "/api/v1/", AGAIN_MS = 1000, SILENT_MS = 3000, LINES_MAX = 100;
let topology = null, run = {}, faults = [], cut = [], frame = null, heard = 0, stream = null, retry = 0;

async function ask(method, path, body) {
  const given = method === "GET" ? {} : { headers: { "Content-Type": "application/json", "X-Fresco-Source": "dashboard" }, body: JSON.stringify(body ?? {}) };
  const answer = await fetch(api + path, { method, ...given });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.error), { field: told.field });
  return told;
}
function order(method, path, body) {
  ask(method, path, body).then((told) => alarm(told.warning ?? ""), (error) => alarm(error.message));
}
function alarm(text) { write($("alert"), text); $("alert").hidden = !text; }

const happened = (fault) => !["scheduled", "spared", "failed"].includes(fault.state);
const now = () => frame?.now_s ?? run.now_s ?? 0;
const view = {
  now,
  width: () => +$("window").value,
  bands: () => faults.filter(happened).map((f) => ({
    from: f.at_s, to: f.state === "active" ? Math.min(f.until_s ?? Infinity, now()) : f.ended_s ?? f.until_s, label: f.type,
  })),
};

const count = (nodes, name) => `${nodes.length} ${name}${nodes.length === 1 ? "" : "s"}`;
function showRun() {
  write($("name"), run.name);
  const [ready, of] = run.hosts ?? [0, 0];
  const how = run.phase === "starting" ? (of ? `starting ${ready}/${of} actors` : "starting") : `${run.phase}, ${now().toFixed(1)} of ${run.duration_s} s, x${frame?.speed ?? 0} real time${run.waits_for ? `, waits for ${run.waits_for}` : ""}`;
  const { users, base_stations, servers } = topology;
  write($("about"), `${run.protocol} on ${run.runtime}, seed ${run.seed}; ${how}; ${count(users, "user")}, ${count(base_stations, "base station")}, ${count(servers, "server")}`);
  write($("pause"), run.phase === "paused" ? "Resume run" : "Pause run");
  for (const id of ["pause", "heal-all", "stop"]) $(id).disabled = !["running", "paused"].includes(run.phase);
}
// Nothing known, nothing shown: a number that no longer holds is worse than none.
function showNumbers(shown = frame) {
  keep($("tiles"), topology.tiles, (tile) => tile.name, (tile) => make("div", { class: "tile" }, make("dt", {}, tile.label), make("dd")),
    (element, tile) => write(element.lastChild, formatOf(tile.unit)(shown?.tiles[tile.name] ?? null)));
  keep($("worst"), shown?.worst ?? [], ([user], i) => user, () => make("tr", {}, make("td"), make("td")),
    (element, [user, age_s]) => { write(element.firstChild, user); write(element.lastChild, seconds(age_s)); });
  const { min_s, max_s } = topology.age_code;
  const ages = shown ? Array.from(atob(shown.ages), (code) => min_s * (max_s / min_s) ** (code.charCodeAt(0) / 255)) : [];
  map.draw(ages, cut, shown?.loss ?? {});
}
function showFaults() {
  const active = faults.filter((f) => f.state === "active" || (f.state === "scheduled" && f.source !== "scenario"));
  keep($("active"), active.length ? active : [null], (f) => f?.id ?? "none",
    (f) => {
      if (!f) return make("li", { class: "none" }, "none");
      const button = make("button", { "aria-label": `Heal fault ${f.id}, ${says(f)}` }, "Heal");
      button.addEventListener("click", () => order("DELETE", "faults/" + f.id));
      return make("li", {}, make("span"), button);
    },
    (element, f) => {
      if (!f) return;
      const left = f.until_s === null ? "to the end" : Math.max(0, f.until_s - now()).toFixed(0) + " s left";
      const isAsked = f.state === "scheduled"; // the run has not taken it up yet
      element.lastChild.disabled = isAsked;
      write(element.firstChild, isAsked ? `${says(f)}: asked, not in effect yet` : `${says(f)} (${f.n} hit${f.applied ? `, applied ${f.applied.join("/")}` : ""}), ${left}`);
    });
}
function showLog() {
  const lines = faults.flatMap((f) => [
    ...(!happened(f) ? [] : [[f.at_s, `${says(f)} began (${f.source}, ${f.n} hit)`]]),
    ...(f.ended_s ? [[f.ended_s, `${says(f)} ${f.state}`]] : []),
  ]).sort((a, b) => b[0] - a[0]).slice(0, LINES_MAX);
  keep($("log"), lines.length ? lines : [[null, "nothing yet"]], (line) => line.join(), () => make("li"),
    (element, [at_s, text]) => write(element, at_s === null ? text : at_s.toFixed(2).padStart(8) + " s  " + text));
}

function onFrame(event) {
  frame = JSON.parse(event.data);
  heard = Date.now();
  if (frame.row) curves.add(frame.now_s, frame.row);
  showRun(); showNumbers(); showFaults(); showLink();
}
function onChange(event) {
  ({ run, faults, cut } = JSON.parse(event.data));
  heard = Date.now();
  showRun(); showFaults(); showLog(); showNumbers(); showLink();
  curves.redraw();
}
function showLink() {
  const silent = run.phase === "running" && Date.now() - heard > SILENT_MS;
  const text = !stream ? (run.phase === "ended" ? "run ended" : "reconnecting") : run.phase === "ended" ? "run ended" : silent ? "no news" : "live";
  write($("link"), text);
  $("link").className = "verdict " + (text === "live" ? "good" : "bad");
  if (topology && (text === "reconnecting" || text === "no news")) showNumbers(null);
}
function lose() {
  stream?.close();
  stream = null;
  clearTimeout(retry);
  retry = setTimeout(connect, AGAIN_MS); // after its end too: the next run has the same address
  showLink();
}
async function connect() {
  if (document.hidden) return;
  try {
    const [found, types, history] = await Promise.all(["topology", "fault-types", "history"].map((path) => ask("GET", path)));
    topology = found;
    form.begin(types, topology);
    map.begin(topology);
    frame = null;
    curves.begin(topology.panels, history, view);
  } catch { lose(); return; }
  stream = new EventSource(api + "stream");
  stream.addEventListener("frame", onFrame);
  stream.addEventListener("change", onChange);
  stream.onerror = lose;
}

form.listen((body) => ask("POST", "faults", body));
$("map").addEventListener("click", (event) => form.aim(map.nodeAt(event)));
$("heal-all").addEventListener("click", () => order("DELETE", "faults"));
$("pause").addEventListener("click", () => order("POST", run.phase === "paused" ? "run/resume" : "run/pause"));
$("stop").addEventListener("click", () => { if (confirm("Stop the run? It heals, flushes and reports.")) order("POST", "run/stop"); });
$("window").addEventListener("change", curves.draw);
document.addEventListener("visibilitychange", () => { if (document.hidden) { stream?.close(); stream = null; } else connect(); });
new ResizeObserver(() => { curves.resize(); if (topology) showNumbers(); }).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { curves.redraw(); if (topology) showNumbers(); });
setInterval(showLink, SILENT_MS);
connect();
