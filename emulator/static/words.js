// How numbers and faults are said, and the little DOM that every part of the page needs.
export const $ = (id) => document.getElementById(id);

const known = new Map(); // computing a style for every line of a map costs more than the line
export function style(name) {
  if (!known.has(name)) known.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return known.get(name);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => known.clear());

const some = (v) => v !== null && v !== undefined;
export function seconds(v) {
  return !some(v) ? "-" : v === 0 ? "0" : Math.abs(v) < 0.9995 ? +(1e3 * v).toPrecision(3) + " ms" : +v.toPrecision(3) + " s";
}
function plain(v) {
  return Math.abs(v) >= 1e4 ? +(v / 1e3).toPrecision(3) + "k" : String(+v.toPrecision(3));
}
export function formatOf(unit) {
  if (unit === "s") return seconds;
  if (unit === "ratio") return (v) => (some(v) ? +(100 * v).toPrecision(3) + " %" : "-");
  const after = unit === "per s" ? " /s" : "";
  return (v) => (some(v) ? plain(v) + after : "-");
}
export const says = (f) => [f.type, ...Object.entries(f.params).map(([k, v]) => (k === "target" ? v : `${k}=${v}`))].join(" ");

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
// Writes only what changed: a screen reader, a selection and the layout are left alone.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
// Keeps one element per key, so that what has the focus keeps it.
export function keep(list, items, keyOf, build, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const key = String(keyOf(item));
    const child = old.get(key) ?? build(item);
    old.delete(key);
    child.dataset.key = key;
    update(child, item);
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
  for (const child of old.values()) child.remove();
}
