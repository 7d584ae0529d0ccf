"use strict";
// Draws every plot of the report with uPlot: fault bands behind the curves, one cursor for all.
const report = JSON.parse(document.getElementById("data").textContent);
const places = [...document.querySelectorAll(".plot")]; // one per panel, in the same order
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const BAND_LINE = 14; // CSS pixels between the names of faults that overlap

function seconds(v) {
  const a = Math.abs(v);
  return a === 0 ? "0" : a < 0.9995 ? +(1e3 * v).toPrecision(3) + " ms" : +v.toPrecision(3) + " s";
}
const formats = {
  s: seconds,
  ratio: (v) => +(100 * v).toPrecision(3) + " %",
  tasks: (v) => String(+v.toPrecision(3)),
  "per s": (v) => +v.toPrecision(3) + " /s",
};
const instant = (v) => +v.toFixed(2) + " s";

function eachBand(u, draw) {
  u.ctx.save();
  report.bands.forEach((band, i) => {
    const x0 = u.valToPos(Math.max(band.from_s, u.scales.x.min), "x", true);
    const x1 = u.valToPos(Math.min(band.to_s, u.scales.x.max), "x", true);
    if (x1 > x0) draw(band, i, x0, x1);
  });
  u.ctx.restore();
}

function shade(u) {
  u.ctx.fillStyle = style("--band");
  eachBand(u, (band, i, x0, x1) => u.ctx.fillRect(x0, u.bbox.top, x1 - x0, u.bbox.height));
}

// As much of the name as fits, and the number that the table of faults gives it.
function nameBands(u) {
  const { ctx } = u;
  ctx.fillStyle = style("--bad");
  ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  eachBand(u, (band, i, x0, x1) => {
    const lane = report.bands.slice(0, i).filter((other) => other.to_s > band.from_s).length;
    const room = x1 - x0 - 6 * devicePixelRatio;
    const names = [band.label, band.label.split(" ")[0], ""].map((name) => `${i + 1} ${name}`);
    const y = u.bbox.top + (3 + lane * BAND_LINE) * devicePixelRatio;
    ctx.fillText(names.find((name) => ctx.measureText(name).width < room) ?? names[2], x0 + 3 * devicePixelRatio, y);
  });
}

// Deadlines in a plot over values: nothing that kept its bound lies to the right of its own.
function mark(panel) {
  return (u) => {
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = style("--bad");
    u.ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
    u.ctx.textAlign = "right";
    panel.marks.forEach(({ value, label }, i) => {
      const x = u.valToPos(value, "x", true);
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
      const y = u.bbox.top + u.bbox.height / 2 + i * BAND_LINE * devicePixelRatio; // they lie close
      u.ctx.fillText(label + " " + seconds(value), x - 4 * devicePixelRatio, y);
    });
    u.ctx.restore();
  };
}

// Levels that curves over time are judged by; one far above them would flatten them.
function highest(panel, hi) {
  const marks = panel.x === "time" ? panel.marks.map((m) => m.value).filter((value) => value <= 4 * (hi ?? 0)) : [];
  return Math.max(hi ?? 0, ...marks) || 1;
}
function levels(panel) {
  return (u) => {
    u.ctx.save();
    u.ctx.strokeStyle = style("--bad");
    u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const { value } of panel.marks) {
      if (value > u.scales.y.max) continue;
      const y = u.valToPos(value, "y", true);
      u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y);
      u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
      u.ctx.stroke();
    }
    u.ctx.restore();
  };
}

// A value between two gaps has no line; it gets a point.
function alone(u, s) {
  const values = u.data[s];
  return values.flatMap((v, i) => (v !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? [i] : []));
}

// Shows the values under the cursor in place of the last ones.
function follow(card, panel, format) {
  const outputs = [...card.querySelectorAll("output")];
  const where = card.querySelector(".where");
  const last = outputs.map((output) => output.textContent);
  return (u) => {
    const at = u.cursor.idx ?? null;
    where.textContent = at === null ? "" : "at " + (panel.x === "time" ? instant : seconds)(panel.at[at]);
    outputs.forEach((output, i) => {
      const value = at === null ? null : panel.series[i].values[at];
      output.textContent = at === null ? last[i] : value === null ? "-" : format(value);
    });
  };
}

function make(panel, place) {
  const format = formats[panel.unit] ?? formats.tasks;
  const overTime = panel.x === "time";
  const axis = { stroke: () => style("--soft"), grid: { stroke: () => style("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const label = (one) => (u, ticks) => ticks.map((v) => (v === null ? "" : one(v)));
  const first = panel.at[0], end = panel.at[panel.at.length - 1];
  const x = overTime
    ? { time: false, range: (u, lo, hi) => (lo === first && hi === end ? [0, report.until_s] : [lo, hi]) }
    : { time: false, distr: 3, range: (u, lo, hi) => [Math.max(lo ?? first, first), Math.min(hi ?? end, end)] };
  const options = {
    width: place.clientWidth, height: 220, legend: { show: false },
    padding: [8, 14, 0, 0],
    cursor: { drag: { x: true, y: false }, ...(overTime ? { sync: { key: "time" } } : {}) },
    scales: { x, y: panel.log ? logScale : { range: (u, lo, hi) => [0, 1.08 * highest(panel, hi)] } },
    axes: [
      { ...axis, size: 30, values: label(overTime ? instant : seconds), ...(overTime ? {} : logTicks("x")) },
      { ...axis, size: 62, values: label(format), ...(panel.log ? { ...logTicks("y"), values: label(power) } : {}) },
    ],
    series: [{}, ...panel.series.map((s, i) => ({
      label: s.label, stroke: () => style("--c" + i), width: 1.8,
      points: { show: false, size: 5, filter: alone, fill: () => style("--c" + i) },
    }))],
    hooks: { setCursor: [follow(place.parentElement, panel, format)], ...(overTime ? { drawClear: [shade], draw: [nameBands, levels(panel)] } : { draw: [mark(panel)] }) },
  };
  return new uPlot(options, [panel.at, ...panel.series.map((s) => (panel.log ? s.values.map(lifted) : s.values))], place);
}

const plots = report.panels.map((panel, i) => make(panel, places[i]));
const resized = new ResizeObserver(() => plots.forEach((plot, i) => plot.setSize({ width: places[i].clientWidth, height: 220 })));
resized.observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.redraw()));
