"use strict";
// Draws every panel of the report with uPlot: fault bands behind the curves, one cursor for all.
const report = JSON.parse(document.getElementById("data").textContent);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (i) => style("--c" + (i % 6));
const cursor = { sync: { key: "time" }, drag: { x: true, y: false } };

function seconds(v) {
  const a = Math.abs(v);
  return a === 0 ? "0" : a < 1 ? +(1e3 * v).toPrecision(3) + " ms" : +v.toPrecision(3) + " s";
}
const formats = {
  s: seconds,
  ratio: (v) => +(100 * v).toPrecision(3) + " %",
  tasks: (v) => String(+v.toPrecision(3)),
};

function bands(u) {
  const { ctx } = u;
  ctx.save();
  ctx.fillStyle = style("--band");
  for (const [from, to] of report.bands) {
    const x0 = u.valToPos(Math.max(from, u.scales.x.min), "x", true);
    const x1 = u.valToPos(Math.min(to, u.scales.x.max), "x", true);
    if (x1 > x0) ctx.fillRect(x0, u.bbox.top, x1 - x0, u.bbox.height);
  }
  ctx.restore();
}

function draw(panel, place) {
  const format = formats[panel.unit];
  const axis = { stroke: style("--soft"), grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false } };
  const values = (u, ticks) => ticks.map((v) => (v === null ? "" : format(v)));
  const overTime = panel.x === "time";
  const options = {
    width: place.clientWidth, height: 230, legend: { show: false },
    cursor: overTime ? cursor : {},
    scales: { x: { time: false, distr: overTime ? 1 : 3 }, y: { range: (u, lo, hi) => [0, hi > 0 ? 1.08 * hi : 1] } },
    axes: [
      { ...axis, values: (u, ticks) => ticks.map((v) => (v === null ? "" : overTime ? v + " s" : seconds(v))) },
      { ...axis, values, size: 66 },
    ],
    series: [{}, ...panel.series.map((s, i) => ({ label: s.label, stroke: colour(i), width: 1.8, points: { show: false } }))],
    hooks: overTime ? { drawClear: [bands] } : {},
  };
  const data = [panel.at, ...panel.series.map((s) => s.values)];
  return new uPlot(options, data, place);
}

function drawAll() {
  for (const panel of report.panels) {
    const place = document.getElementById(panel.id);
    place.replaceChildren();
    draw(panel, place);
    document.querySelectorAll(`[data-panel="${panel.id}"] .key`).forEach((key, i) => { key.style.background = colour(i); });
  }
}
drawAll();
let pending = 0;
addEventListener("resize", () => { clearTimeout(pending); pending = setTimeout(drawAll, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
