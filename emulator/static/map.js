// The network: users coloured by age over links coloured by loss. Links lie on a layer of their
// own, redrawn only when they look different; users are few strokes per frame.
import { $, style } from "/static/words.js";

const SHADES = 24; // of the ramp; nobody tells more apart
const MANY = 60; // users; above, they are dots without names
const layer = document.createElement("canvas");
let topology = null, at = new Map(), drawn = "", edges = [];

export function begin(found) {
  topology = found;
  edges = found.users.flatMap((user) => user.cells.map((bs, i) => [user.id, bs, i]));
  drawn = "";
}

function ramp(t) {
  const stops = [[59, 111, 182], [141, 143, 184], [217, 164, 65], [200, 53, 43]];
  const i = Math.min(2, Math.floor(3 * t)), f = 3 * t - i;
  return `rgb(${stops[i].map((c, k) => Math.round(c + f * (stops[i + 1][k] - c))).join(",")})`;
}
const RAMP = Array.from({ length: SHADES }, (_, i) => ramp(i / (SHADES - 1)));
const shadeOf = (age_s) => Math.round((SHADES - 1) * Math.max(0, Math.min(1, Math.log10(age_s / 0.01) / 3)));

function layOut(width, height) {
  const all = [...topology.users, ...topology.base_stations, ...topology.servers];
  const xs = all.map((n) => n.at_m[0]), ys = all.map((n) => n.at_m[1]);
  const x0 = Math.min(...xs), y0 = Math.min(...ys), dx = Math.max(...xs) - x0 || 1, dy = Math.max(...ys) - y0 || 1;
  at = new Map(all.map((n) => [n.id, [30 + ((n.at_m[0] - x0) / dx) * (width - 110), 16 + ((n.at_m[1] - y0) / dy) * (height - 32)]]));
}
function strokes(c, pairs) {
  c.beginPath();
  for (const [a, b] of pairs) { c.moveTo(...at.get(a)); c.lineTo(...at.get(b)); }
  c.stroke();
}
function drawLinks(c, cut, loss) {
  const blocked = new Set(cut.map((pair) => pair.join(" ")));
  const many = topology.users.length > MANY;
  c.setLineDash([4, 4]); c.lineWidth = 1; c.strokeStyle = style("--line");
  strokes(c, topology.base_stations.flatMap((bs) => bs.servers.map((server) => [bs.id, server])));
  c.setLineDash([]); c.lineWidth = many ? 0.5 : 1.3;
  for (const bs of topology.base_stations) for (const nearest of [false, true]) {
    c.globalAlpha = nearest ? 0.6 : 0.18;
    c.strokeStyle = RAMP[Math.round((SHADES - 1) * Math.min(1, loss[bs.id] ?? 0))];
    strokes(c, edges.filter(([user, cell, i]) => cell === bs.id && (i === 0) === nearest && !blocked.has(user + " " + cell)));
  }
  c.globalAlpha = 1; c.setLineDash([5, 4]); c.lineWidth = many ? 1 : 2; c.strokeStyle = style("--bad");
  strokes(c, cut);
  c.setLineDash([]);
  if (many) return;
  font(c);
  c.fillStyle = style("--soft");
  for (const user of topology.users) c.fillText(user.id, at.get(user.id)[0] + 10, at.get(user.id)[1]);
}

function font(c) { c.font = "11px system-ui, sans-serif"; c.textBaseline = "middle"; }
function drawSites(c) {
  font(c);
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

// `ages` in seconds, in the order of the users; empty: not known (yet).
export function draw(ages, cut, loss) {
  const canvas = $("map"), ratio = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!topology || !width) return;
  const looks = JSON.stringify([width, height, ratio, style("--ink"), cut, loss]);
  if (looks !== drawn) {
    drawn = looks;
    for (const each of [canvas, layer]) { each.width = width * ratio; each.height = height * ratio; }
    layOut(width, height);
    const c = layer.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawLinks(c, cut, loss);
  }
  const c = canvas.getContext("2d"), radius = topology.users.length > MANY ? 3 : 7;
  c.setTransform(1, 0, 0, 1, 0, 0);
  c.clearRect(0, 0, canvas.width, canvas.height);
  c.drawImage(layer, 0, 0);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  const dots = Array.from({ length: SHADES }, () => new Path2D()), unknown = new Path2D();
  topology.users.forEach((user, i) => {
    const [x, y] = at.get(user.id), path = ages.length ? dots[shadeOf(ages[i])] : unknown;
    path.moveTo(x + radius, y);
    path.arc(x, y, radius, 0, 7);
  });
  dots.forEach((path, i) => { c.fillStyle = RAMP[i]; c.fill(path); });
  c.fillStyle = style("--soft");
  c.fill(unknown);
  drawSites(c);
}

// The node nearest to a click, if it is near.
export function nodeAt(event) {
  const box = $("map").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const near = [...at].map(([id, [px, py]]) => [Math.hypot(px - x, py - y), id]).sort((a, b) => a[0] - b[0])[0];
  return near && near[0] < 40 ? near[1] : null;
}
