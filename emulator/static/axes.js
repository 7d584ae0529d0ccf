"use strict";
// Logarithmic axes, for the live page and the report: what uPlot is to be told of them.
const LOG_FLOOR = 1e-9; // a logarithmic axis has no zero
const LOG_DECADES_MAX = 6; // below the largest value; what falls further leaves the plot
const lifted = (v) => (v === null ? null : Math.max(v, LOG_FLOOR));

// Round values: as many per decade as there is room for.
function roundValues(from, to) {
  const decades = Math.log10(to / from);
  const rounds = decades < 1.5 ? [1, 1.5, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
  const values = [];
  for (let power = Math.floor(Math.log10(from)); 10 ** power <= to; power += 1) {
    values.push(...rounds.map((r) => r * 10 ** power).filter((v) => v >= from && v <= to));
  }
  return values;
}
const logTicks = (scale) => ({
  splits: (u) => roundValues(u.scales[scale].min, u.scales[scale].max),
  filter: (u, splits) => splits,
});
const power = (v) => (v < 1e-3 ? (+v.toPrecision(3)).toExponential() : String(+v.toPrecision(3)));
const logScale = {
  distr: 3,
  range: (u, lo, hi) => { // never less than a decade: there is a round value in each
    if (!(hi > 0)) return [0.01, 1];
    return [0.9 * Math.max(Math.min(lo, hi / 10), hi / 10 ** LOG_DECADES_MAX), 1.1 * hi];
  },
};
