// Curves over emulated time: fault bands behind, limits across, one cursor for all.
import { $, formatOf, make, style, write } from "/static/words.js";

const HEIGHT = 190;
const rows = { at_s: [], columns: {} };
let charts = [], look = { bands: () => [], now: () => 0, width: () => 0 };

// `bands`: the faults so far; `now`: emulated seconds; `width`: of the window in seconds, 0: all.
export function begin(panels, history, view) {
  look = view;
  rows.at_s = history.at_s;
  rows.columns = history.columns;
  for (const c of charts) c.plot.destroy();
  $("charts").replaceChildren();
  charts = panels.map(chart);
  draw();
}
export function add(at_s, row) {
  if (at_s <= (rows.at_s.at(-1) ?? -1)) return;
  rows.at_s.push(at_s);
  for (const name of Object.keys(row)) rows.columns[name] ??= Array(rows.at_s.length - 1).fill(null);
  for (const name of Object.keys(rows.columns)) rows.columns[name].push(row[name] ?? null);
  draw();
}
export function draw() {
  $("charts").dataset.rows = rows.at_s.length;
  for (const c of charts) {
    c.plot.setData([rows.at_s, ...c.panel.curves.map(({ column }) => (c.panel.log ? column_(column).map(lifted) : column_(column)))]);
    tell(c);
  }
}
export const redraw = () => charts.forEach((c) => c.plot.redraw());
export const resize = () => charts.forEach((c) => c.plot.setSize({ width: c.place.clientWidth, height: HEIGHT }));

const column_ = (name) => rows.columns[name] ?? Array(rows.at_s.length).fill(null);
function span() {
  const width = look.width(), end = Math.max(look.now(), rows.at_s.at(-1) ?? 0, 1);
  return [width ? Math.max(0, end - width) : 0, end];
}
// A limit far above its curve would flatten it; it is still named under the title.
function highest(panel, hi) {
  const marks = panel.marks.map((mark) => mark.value).filter((value) => value <= 4 * (hi ?? 0));
  return Math.max(hi ?? 0, ...marks) || 1;
}

function chart(panel) {
  const format = formatOf(panel.unit);
  const card = make("section", { class: "card" }, make("h2", {}, panel.title));
  const keys = make("p", { class: "last" });
  const values = panel.curves.map(({ label }, i) => {
    const value = make("span", { class: "value" });
    keys.append(make("span", { class: "curve" }, make("span", { class: "key k" + i }), label && label + " ", value));
    return value;
  });
  for (const mark of panel.marks) keys.append(make("span", { class: "curve limit" }, `${mark.label} ${format(mark.value)}`));
  if (panel.left_out) keys.append(make("span", { class: "curve" }, `and ${panel.left_out} more`));
  const place = make("div", { class: "plot", role: "img", "aria-label": `${panel.title} over emulated time` });
  card.append(keys, place);
  $("charts").append(card);
  const axis = { stroke: () => style("--soft"), grid: { stroke: () => style("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const y = panel.log ? logScale : { range: (u, lo, hi) => [0, 1.08 * highest(panel, hi)] };
  const plot = new uPlot({
    width: place.clientWidth || 400, height: HEIGHT, legend: { show: false }, padding: [8, 14, 0, 0],
    cursor: { drag: { x: false, y: false }, sync: { key: "time" } },
    scales: { x: { time: false, range: span }, y },
    axes: [
      { ...axis, size: 30, values: (u, ticks) => ticks.map((v) => +v.toFixed(1) + " s") },
      { ...axis, size: 62, values: (u, ticks) => ticks.map(format), ...(panel.log ? { ...logTicks("y"), values: (u, ticks) => ticks.map(power) } : {}) },
    ],
    series: [{}, ...panel.curves.map(({ label }, i) => ({
      label, stroke: () => style("--c" + i), width: 1.8,
      points: { show: false, size: 5, filter: alone, fill: () => style("--c" + i) },
    }))],
    hooks: { drawClear: [shade], draw: [(u) => limits(u, panel)], setCursor: [() => tell(shown)] },
  }, [[], ...panel.curves.map(() => [])], place);
  const shown = { plot, panel, values, format, place };
  return shown;
}
// The value under the cursor; without one the newest, which may be a gap.
function tell(c) {
  const at = c.plot.cursor.idx ?? rows.at_s.length - 1;
  c.panel.curves.forEach(({ column }, i) => write(c.values[i], c.format(rows.columns[column]?.[at] ?? null)));
}
// A value between two gaps has no line; it gets a point.
function alone(u, s) {
  const v = u.data[s];
  return v.flatMap((y, i) => (y != null && v[i - 1] == null && v[i + 1] == null ? [i] : []));
}
function shade(u) {
  const { ctx } = u;
  ctx.save();
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
  const shown = look.bands();
  for (const [i, band] of shown.entries()) {
    const lane = shown.slice(0, i).filter((other) => other.to > band.from && other.from < band.to).length;
    const x0 = u.valToPos(Math.max(band.from, u.scales.x.min), "x", true);
    const x1 = u.valToPos(Math.min(band.to, u.scales.x.max), "x", true);
    if (x1 <= x0) continue;
    ctx.fillStyle = style("--band");
    ctx.fillRect(x0, u.bbox.top, x1 - x0, u.bbox.height);
    ctx.fillStyle = style("--bad");
    if (ctx.measureText(band.label).width < x1 - x0) ctx.fillText(band.label, x0 + 3, u.bbox.top + (3 + 13 * lane) * devicePixelRatio);
  }
  ctx.restore();
}
function limits(u, panel) {
  const { ctx } = u;
  ctx.save();
  ctx.strokeStyle = style("--bad");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const { value } of panel.marks) {
    if (value > u.scales.y.max) continue;
    const at = u.valToPos(value, "y", true);
    ctx.beginPath();
    ctx.moveTo(u.bbox.left, at);
    ctx.lineTo(u.bbox.left + u.bbox.width, at);
    ctx.stroke();
  }
  ctx.restore();
}
