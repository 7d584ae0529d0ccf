// The fault form, made from the JSON Schema that the server reads faults with.
import { $, make } from "/static/words.js";

const OFFERED = 500; // names; more than that nobody looks through, and a browser lays them all out
let types = {};
const rank = (name) => (name === "target" ? 0 : name === "for_s" ? 2 : 1);
const isNumber = (spec) => spec.type === "number" || spec.type === "integer";

export function begin(found, topology) {
  types = found;
  const chosen = $("type").value;
  const says = (type) => type + (types[type].ends_run ? " (ends the run)" : "");
  $("type").replaceChildren(...Object.keys(types).map((type) => make("option", { value: type }, says(type))));
  if (chosen in types) $("type").value = chosen;
  const nodes = [...topology.base_stations, ...topology.servers, ...topology.users].map((node) => node.id);
  const groups = [...new Set(nodes.map((id) => id.replace(/-\d+$/, "-*")))];
  $("nodes").replaceChildren(...[...groups, ...nodes].slice(0, OFFERED).map((value) => make("option", { value })));
  fill();
}
export function aim(node) {
  const field = $("field-target");
  if (node && field) { field.value = node; field.focus(); }
}

function range(spec) {
  const low = spec.minimum ?? spec.exclusiveMinimum, high = spec.maximum ?? spec.exclusiveMaximum;
  return low !== undefined && high !== undefined ? `${low} to ${high}` : low !== undefined ? `from ${low}` : high !== undefined ? `up to ${high}` : "";
}
function field(name, spec, needed) {
  const hint = [needed ? "" : "optional", range(spec), spec.description ?? ""].filter(Boolean).join("; ");
  const id = "field-" + name, has = spec.default !== undefined && spec.default !== null;
  const attributes = { id, name, autocomplete: "off", "aria-describedby": id + "-hint", ...(needed ? { "aria-required": "true" } : {}) };
  let input;
  if (spec.enum || spec.type === "boolean") {
    input = make("select", attributes);
    if (!has) input.append(make("option", { value: "" }));
    input.append(...(spec.enum ?? ["true", "false"]).map((v) => make("option", {}, String(v))));
  } else {
    const kind = isNumber(spec) ? { type: "number", step: "any" } : { type: "text" };
    input = make("input", { ...attributes, ...kind });
    if (name === "target") { input.setAttribute("list", "nodes"); input.placeholder = "a name, bs-*, or click the map"; }
    if (spec.type === "array") input.placeholder = "comma-separated";
  }
  if (has) input.value = name === "for_s" ? 15 : spec.default;
  return make("div", { class: "field" }, make("label", { for: id }, name), input, make("p", { class: "soft", id: id + "-hint" }, hint));
}
// What most faults leave as it is stays folded away, and keeps its values when the type changes.
function fill() {
  const schema = types[$("type").value];
  const kept = new Map([...$("rare").querySelectorAll("input, select")].map((each) => [each.name, each.value]));
  const target = $("field-target");
  if (target) kept.set("target", target.value);
  $("type-about").textContent = schema.description;
  const all = Object.entries(schema.properties).sort(([a], [b]) => rank(a) - rank(b));
  const made = (some) => some.map(([name, spec]) => field(name, spec, schema.required.includes(name)));
  $("fields").replaceChildren(...made(all.filter(([, spec]) => !spec.modifier)));
  $("rare").replaceChildren(...made(all.filter(([, spec]) => spec.modifier)));
  $("more").hidden = !$("rare").children.length;
  for (const [name, value] of kept) if ($("field-" + name)) $("field-" + name).value = value;
}
function read(text, spec) {
  if (isNumber(spec)) return +text;
  if (spec.type === "boolean") return text === "true";
  if (spec.type === "array") return text.split(",").map((each) => read(each.trim(), spec.items ?? {}));
  return text;
}
function asked() {
  const type = $("type").value, body = { type };
  for (const [name, spec] of Object.entries(types[type].properties)) {
    const text = $("field-" + name).value.trim();
    if (text === "" || (spec.modifier && text === String(spec.default))) continue;
    body[name] = read(text, spec);
  }
  return body;
}

// `inject` takes the fault that the form describes and returns what the run answers.
export function listen(inject) {
  $("type").addEventListener("change", fill);
  $("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("form-error").textContent = "";
    for (const field of $("fields").querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    try {
      const done = await inject(asked());
      const spared = done.faults[0].state === "spared" ? "Spared: chance has it that this fault does not happen." : "";
      $("form-error").textContent = done.warning ?? spared;
    } catch (error) {
      $("form-error").textContent = error.message;
      const field = $("field-" + error.field);
      if (field) { field.closest("details")?.setAttribute("open", ""); field.setAttribute("aria-invalid", "true"); field.focus(); }
    }
  });
}
