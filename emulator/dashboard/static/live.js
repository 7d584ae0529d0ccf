"use strict";
// The live page: one stream down, plain requests up. Everything shown comes from the run's API.
const $ = (id) => document.getElementById(id);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const api = "/api/v1/";
let topology = null, types = {}, run = {}, faults = [], cut = [], frame = null, ages = [];
let rows = { at_s: [], columns: {} }, charts = [], places = [];

function seconds(v) {
  return v === null || v === undefined ? "-" : v < 0.9995 ? +(1e3 * v).toPrecision(3) + " ms" : +v.toPrecision(3) + " s";
}
const percent = (v) => (v === null || v === undefined ? "-" : +(100 * v).toPrecision(3) + " %");
const plain = (v) => (v === null || v === undefined ? "-" : String(+v.toPrecision(3)));
function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

async function ask(method, path, body) {
  const given = method === "GET" ? {} : { headers: { "Content-Type": "application/json", "X-Fresco-Source": "dashboard" }, body: JSON.stringify(body ?? {}) };
  const answer = await fetch(api + path, { method, ...given });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}
function order(method, path, body) {
  ask(method, path, body).then((told) => alarm(told.warning ?? ""), (error) => alarm(error.message));
}
function alarm(text) { $("alert").textContent = text; $("alert").hidden = !text; }

// Curves

const GROUPS = [
  ["Age of information", seconds, (n) => n.startsWith("aoi_s/"), 0],
  ["Peak age by class", seconds, (n) => n.startsWith("paoi_s/"), "class "],
  ["Delay", seconds, (n) => n.startsWith("delay_s/"), 0],
  ["Parts of the delay", seconds, (n) => n.startsWith("part_s/"), 0],
  ["Uplink attempts lost", percent, (n) => n.startsWith("loss_ratio/"), 0],
  ["Backlog (tasks)", plain, (n) => n.startsWith("backlog/"), 0],
  ["Inference, E[S]", seconds, (n) => n.startsWith("service_s/"), 0],
];
const CURVES_MAX = 6;

function bands() {
  return faults.filter((f) => f.state !== "scheduled" && f.state !== "spared").map((f) => ({
    from: f.at_s, to: f.state === "active" ? Math.min(f.until_s ?? Infinity, now()) : f.ended_s ?? f.until_s, label: f.type,
  }));
}
const now = () => frame?.now_s ?? run.now_s ?? 0;

function shade(u) {
  u.ctx.save();
  u.ctx.textAlign = "left";
  const shown = bands();
  for (const [i, band] of shown.entries()) {
    const lane = shown.slice(0, i).filter((other) => other.to > band.from && other.from < band.to).length;
    const x0 = u.valToPos(Math.max(band.from, u.scales.x.min), "x", true);
    const x1 = u.valToPos(Math.min(band.to, u.scales.x.max), "x", true);
    if (x1 <= x0) continue;
    u.ctx.fillStyle = style("--band");
    u.ctx.fillRect(x0, u.bbox.top, x1 - x0, u.bbox.height);
    u.ctx.fillStyle = style("--bad");
    u.ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
    u.ctx.textBaseline = "top";
    if (u.ctx.measureText(band.label).width < x1 - x0) u.ctx.fillText(band.label, x0 + 3, u.bbox.top + (3 + 13 * lane) * devicePixelRatio);
  }
  u.ctx.restore();
}
function alone(u, s) {
  const v = u.data[s];
  return v.flatMap((y, i) => (y != null && v[i - 1] == null && v[i + 1] == null ? [i] : []));
}

function chart(title, format, names, said) {
  const card = make("section", undefined, { class: "card" });
  card.append(make("h2", title));
  const keys = make("p", undefined, { class: "last" });
  const outputs = names.map((name, i) => {
    const curve = make("span", undefined, { class: "curve" });
    const output = make("output", "");
    curve.append(make("span", "", { class: "key k" + i }), (said || "") + name.slice(name.indexOf("/") + 1) + " ", output);
    keys.append(curve);
    return output;
  });
  const place = make("div", undefined, { class: "plot", role: "img", "aria-label": title });
  card.append(keys, place);
  $("charts").append(card);
  const axis = { stroke: () => style("--soft"), grid: { stroke: () => style("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const plot = new uPlot({
    width: place.clientWidth || 400, height: 190, legend: { show: false }, padding: [8, 14, 0, 0],
    cursor: { drag: { x: false, y: false }, sync: { key: "time" } },
    scales: { x: { time: false, range: span }, y: { range: (u, lo, hi) => [0, hi > 0 ? 1.08 * hi : 1] } },
    axes: [{ ...axis, size: 30, values: (u, t) => t.map((v) => +v.toFixed(1) + " s") }, { ...axis, size: 62, values: (u, t) => t.map((v) => format(v)) }],
    series: [{}, ...names.map((name, i) => ({ label: name, stroke: () => style("--c" + i), width: 1.8, points: { show: false, size: 5, filter: alone, fill: () => style("--c" + i) } }))],
    hooks: { drawClear: [shade], setCursor: [() => told(plotted)] },
  }, [[], ...names.map(() => [])], place);
  const plotted = { plot, names, outputs, format, place };
  return plotted;
}
function span() {
  const width = +$("window").value, end = Math.max(now(), rows.at_s.at(-1) ?? 0, 1);
  return [width ? Math.max(0, end - width) : 0, end];
}
// The value under the cursor; without one the newest, which may be a gap.
function told(c) {
  const at = c.plot.cursor.idx ?? rows.at_s.length - 1;
  c.names.forEach((name, i) => { c.outputs[i].textContent = c.format(rows.columns[name]?.[at] ?? null); });
}
function drawCharts() {
  const known = Object.keys(rows.columns), drawn = new Set(charts.flatMap((c) => c.names));
  const wanted = GROUPS.map(([title, format, is, said]) => [title, format, known.filter(is).slice(0, CURVES_MAX), said]);
  for (const name of known.filter((n) => n.startsWith("protocol/"))) wanted.push([name.slice(9).replaceAll("_", " "), plain, [name], ""]);
  const lacking = wanted.some(([, , names]) => names.some((n) => !drawn.has(n)));
  if (lacking) {
    for (const c of charts) c.plot.destroy();
    $("charts").replaceChildren();
    charts = wanted.filter(([, , names]) => names.length).map(([t, f, names, said]) => chart(t, f, names, said));
  }
  for (const c of charts) {
    c.plot.setData([rows.at_s, ...c.names.map((n) => rows.columns[n])]);
    told(c);
  }
}
function addRow(at_s, row) {
  rows.at_s.push(at_s);
  for (const name of Object.keys(row)) rows.columns[name] ??= Array(rows.at_s.length - 1).fill(null);
  for (const name of Object.keys(rows.columns)) rows.columns[name].push(row?.[name] ?? null);
}

// Map

function ramp(age_s) {
  const t = Math.max(0, Math.min(1, Math.log10(age_s / 0.01) / 3));
  const stops = [[59, 111, 182], [141, 143, 184], [217, 164, 65], [200, 53, 43]];
  const i = Math.min(2, Math.floor(3 * t)), f = 3 * t - i;
  return `rgb(${stops[i].map((c, k) => Math.round(c + f * (stops[i + 1][k] - c))).join(",")})`;
}
function drawMap() {
  if (!topology) return;
  const canvas = $("map"), ratio = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== width * ratio) { canvas.width = width * ratio; canvas.height = height * ratio; }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  const all = [...topology.users, ...topology.base_stations, ...topology.servers];
  const xs = all.map((n) => n.at_m[0]), ys = all.map((n) => n.at_m[1]);
  const x0 = Math.min(...xs), y0 = Math.min(...ys), dx = Math.max(...xs) - x0 || 1, dy = Math.max(...ys) - y0 || 1;
  const at = new Map(all.map((n) => [n.id, [30 + ((n.at_m[0] - x0) / dx) * (width - 110), 16 + ((n.at_m[1] - y0) / dy) * (height - 32)]]));
  places = [...at].map(([id, [x, y]]) => ({ id, x, y }));
  const blocked = new Set(cut.map((pair) => pair.join(" ")));
  const line = (a, b) => { c.beginPath(); c.moveTo(...at.get(a)); c.lineTo(...at.get(b)); c.stroke(); };
  c.strokeStyle = style("--line"); c.lineWidth = 1; c.setLineDash([4, 4]);
  for (const bs of topology.base_stations) for (const server of bs.servers) line(bs.id, server);
  const many = topology.users.length > 60;
  for (const user of topology.users) for (const [i, bs] of user.cells.entries()) {
    const dark = blocked.has(user.id + " " + bs), loss = frame?.loss[bs] ?? 0;
    c.setLineDash(dark ? [5, 4] : []);
    c.strokeStyle = dark ? style("--bad") : ramp(0.01 * 1000 ** Math.min(1, loss));
    c.globalAlpha = dark ? 1 : i ? 0.18 : 0.6;
    c.lineWidth = dark ? 2 : many ? 0.5 : 1.3;
    line(user.id, bs);
  }
  c.globalAlpha = 1; c.setLineDash([]); c.font = "11px system-ui, sans-serif"; c.textBaseline = "middle";
  topology.users.forEach((user, i) => {
    const [x, y] = at.get(user.id);
    c.fillStyle = ages.length ? ramp(ages[i]) : style("--soft");
    c.beginPath(); c.arc(x, y, many ? 3 : 7, 0, 7); c.fill();
    if (!many) { c.fillStyle = style("--soft"); c.fillText(user.id, x + 10, y); }
  });
  c.fillStyle = style("--ink");
  for (const bs of topology.base_stations) {
    const [x, y] = at.get(bs.id);
    c.beginPath(); c.moveTo(x, y - 10); c.lineTo(x - 9, y + 7); c.lineTo(x + 9, y + 7); c.fill();
    c.fillText(bs.id, x + 13, y);
  }
  for (const server of topology.servers) {
    const [x, y] = at.get(server.id);
    c.fillRect(x - 8, y - 8, 16, 16); c.fillText(server.id, x + 12, y);
  }
}
$("map").addEventListener("click", (event) => {
  const box = $("map").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const near = places.map((p) => [Math.hypot(p.x - x, p.y - y), p.id]).sort((a, b) => a[0] - b[0])[0];
  const field = $("field-target");
  if (near && near[0] < 40 && field) { field.value = near[1]; field.focus(); }
});

// Form

const rank = (name) => (name === "target" ? 0 : name === "for_s" ? 2 : 1);
const isNumber = (spec) => spec.type === "number" || spec.type === "integer";
function field(name, spec, required) {
  const label = make("label", name);
  const attributes = { id: "field-" + name, name, title: spec.description ?? "", autocomplete: "off" };
  let input;
  if (spec.enum) {
    input = make("select", undefined, attributes);
    if (spec.default == null) input.append(make("option", "", { value: "" }));
    input.append(...spec.enum.map((v) => make("option", v)));
  } else {
    input = make("input", undefined, { ...attributes, type: isNumber(spec) ? "number" : "text", ...(isNumber(spec) ? { step: "any" } : {}) });
    input.placeholder = spec.type === "array" ? "comma-separated" : spec.type === "boolean" ? "true or false" : name === "target" ? "bs-0, user-*, group:NAME, or click the map" : "";
  }
  if (spec.default != null) input.value = name === "for_s" ? 15 : spec.default;
  if (required) input.setAttribute("aria-required", "true");
  label.append(input);
  return label;
}
// What most faults leave as it is stays folded away, and keeps its values when the type changes.
function fillForm() {
  const schema = types[$("type").value];
  const target = $("field-target")?.value ?? "";
  const kept = Object.fromEntries([...$("rare").querySelectorAll("input, select")].map((e) => [e.name, e.value]));
  $("type-about").textContent = schema.description;
  const all = Object.entries(schema.properties).sort(([a], [b]) => rank(a) - rank(b));
  const made = (some) => some.map(([name, spec]) => field(name, spec, schema.required.includes(name)));
  $("fields").replaceChildren(...made(all.filter(([, spec]) => !spec.modifier)));
  $("rare").replaceChildren(...made(all.filter(([, spec]) => spec.modifier)));
  for (const each of $("rare").querySelectorAll("input, select")) if (each.name in kept) each.value = kept[each.name];
  if ($("field-target")) $("field-target").value = target;
}
$("type").addEventListener("change", fillForm);
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const schema = types[$("type").value], body = { type: $("type").value };
  for (const [name, spec] of Object.entries(schema.properties)) {
    const text = $("field-" + name).value.trim();
    if (text === "" || (spec.modifier && text === String(spec.default))) continue;
    const items = () => text.split(",").map((s) => (isNumber(spec.items) ? +s : s.trim()));
    body[name] = isNumber(spec) ? +text : spec.type === "array" ? items() : spec.type === "boolean" ? text === "true" : text;
  }
  try {
    const done = await ask("POST", "faults", body);
    const spared = done.faults[0].state === "spared" ? "Spared: chance has it that this fault does not happen." : "";
    $("form-error").textContent = done.warning ?? spared;
  } catch (error) { $("form-error").textContent = error.message; }
});

// Lists and header

const says = (f) => [f.type, ...Object.entries(f.params).map(([k, v]) => (k === "target" ? v : `${k}=${v}`))].join(" ");
function showFaults() {
  const active = faults.filter((f) => f.state === "active");
  $("active").replaceChildren(...active.map((f) => {
    const item = make("li");
    const left = f.until_s === null ? "to the end" : Math.max(0, f.until_s - now()).toFixed(0) + " s left";
    const ack = f.applied ? `, applied ${f.applied.join("/")}` : "";
    item.append(make("span", `${says(f)} (${f.n} hit${ack}), ${left}`));
    const button = make("button", "Heal", { "aria-label": "Heal fault " + f.id });
    button.addEventListener("click", () => order("DELETE", "faults/" + f.id));
    item.append(button);
    return item;
  }));
  if (!active.length) $("active").append(make("li", "none", { class: "none" }));
}
function showLog() {
  const lines = faults.flatMap((f) => [
    ...(["scheduled", "spared"].includes(f.state) ? [] : [[f.at_s, `${says(f)} began (${f.source}, ${f.n} hit)`]]),
    ...(f.ended_s ? [[f.ended_s, `${says(f)} ${f.state}`]] : []),
  ]);
  lines.sort((a, b) => b[0] - a[0]);
  $("log").replaceChildren(...lines.slice(0, 100).map(([at_s, text]) => make("li", at_s.toFixed(2).padStart(8) + " s  " + text)));
}
function showRun() {
  $("name").textContent = run.name;
  document.title = run.name + " - Fresco, live";
  const hosts = run.hosts ?? [0, 0];
  const how = run.phase === "starting" ? `starting ${hosts[0]}/${hosts[1]} hosts` : `${run.phase}, ${now().toFixed(1)} of ${run.duration_s} s, x${frame?.speed ?? 0} real time`;
  $("about").textContent = `${run.protocol} on ${run.runtime}, seed ${run.seed}; ${how}; ${topology ? topology.users.length : 0} users`;
  $("pause").textContent = run.phase === "paused" ? "Resume run" : "Pause run";
  for (const id of ["pause", "heal-all", "stop"]) $(id).disabled = !["running", "paused"].includes(run.phase);
}
function showTiles() {
  const last = (name) => rows.columns[name]?.at(-1) ?? null;
  const classes = Object.keys(rows.columns).filter((n) => n.startsWith("paoi_s/")).sort();
  const tiles = [
    ["age, mean over users", seconds(frame?.age_mean_s)], ["age, 95th percentile", seconds(frame?.age_p95_s)],
    ["peak age, most urgent class", seconds(last(classes[0]))], ["delay, 95th percentile", seconds(last("delay_s/p95"))],
    ["uplink attempts lost", percent(last("uplink_loss_ratio"))], ["faults active", String(faults.filter((f) => f.state === "active").length)],
    ["lateness p99", seconds(frame?.lateness_s)],
  ];
  $("tiles").replaceChildren(...tiles.map(([label, value]) => { const t = make("div", label, { class: "tile" }); t.append(make("b", value)); return t; }));
}
function onFrame(event) {
  frame = JSON.parse(event.data);
  const { min_s, max_s } = topology.age_code;
  ages = Array.from(atob(frame.ages), (ch) => min_s * (max_s / min_s) ** (ch.charCodeAt(0) / 255));
  if (frame.row && frame.now_s > (rows.at_s.at(-1) ?? -1)) { addRow(frame.now_s, frame.row); drawCharts(); }
  $("worst").replaceChildren(...frame.worst.map(([user, age_s]) => { const r = make("tr"); r.append(make("td", user), make("td", seconds(age_s))); return r; }));
  showRun(); showTiles(); showFaults(); drawMap();
}
function onChange(event) {
  const told = JSON.parse(event.data);
  ({ run, faults, cut } = told);
  showRun(); showFaults(); showLog(); showTiles(); drawMap();
  for (const c of charts) c.plot.redraw();
  if (run.phase === "ended") { stream.close(); live("run ended", false); }
}
function live(text, good) { $("link").textContent = text; $("link").className = "verdict " + (good ? "good" : "bad"); }

let stream = null, retry = 0;
async function connect() {
  clearTimeout(retry);
  try {
    [topology, types, rows] = await Promise.all(["topology", "fault-types", "history"].map((p) => ask("GET", p)));
  } catch { live("reconnecting", false); retry = setTimeout(connect, 1000); return; }
  if (!$("type").options.length) { $("type").append(...Object.keys(types).map((t) => make("option", t))); fillForm(); }
  drawCharts(); drawMap();
  stream = new EventSource(api + "stream");
  stream.onopen = () => live("live", true);
  stream.addEventListener("frame", onFrame);
  stream.addEventListener("change", onChange);
  stream.onerror = () => { stream.close(); if (run.phase !== "ended") { live("reconnecting", false); retry = setTimeout(connect, 1000); } };
}
document.addEventListener("visibilitychange", () => { stream?.close(); if (!document.hidden) connect(); });
$("heal-all").addEventListener("click", () => order("DELETE", "faults"));
$("pause").addEventListener("click", () => order("POST", run.phase === "paused" ? "run/resume" : "run/pause"));
$("stop").addEventListener("click", () => { if (confirm("Stop the run? It heals, flushes and reports.")) order("POST", "run/stop"); });
$("window").addEventListener("change", drawCharts);
new ResizeObserver(() => { for (const c of charts) c.plot.setSize({ width: c.place.clientWidth, height: 190 }); drawMap(); }).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const c of charts) c.plot.redraw(); drawMap(); });
connect();
