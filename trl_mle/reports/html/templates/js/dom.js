// Elements of the page. Texts of runs reach the page by `textContent` alone, so nothing in them is markup.

function el(tag, options, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options || {})) {
    if (value === undefined || value === null) continue;
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name === "on") for (const [event, action] of Object.entries(value)) node.addEventListener(event, action);
    else if (name === "style") for (const [key, item] of Object.entries(value)) node.style.setProperty(key, item);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function options(select, entries, chosen) {
  fill(select, ...entries.map(([value, text]) => el("option", { value, text })));
  if (chosen !== undefined) select.value = chosen;
  return select;
}

function number(value, digits) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0"; // and no minus before it
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toExponential(2);
  return String(Number(value.toPrecision(digits || 4)));
}

function percent(value) {
  return value === null || value === undefined ? "–" : `${Math.round(100 * value)} %`;
}

function seconds(value) {
  return value === null || value === undefined ? "–" : `${number(value, 3)} s`;
}

function kindBadge(kind) {
  return el("span", { class: `kind ${KINDS.includes(kind) ? kind : ""}`, text: kind });
}

// One small bar per milestone, filled if it was reached.
function milestonePips(bits) {
  const reached = DATA.milestones.filter((_, place) => bits & (1 << place));
  const pips = DATA.milestones.map((_, place) => el("i", { class: bits & (1 << place) ? "on" : "" }));
  const label = `${reached.length} of ${DATA.milestones.length}: ${reached.join(", ") || "none"}`;
  return el("span", { class: "pips", role: "img", "aria-label": label, title: label }, ...pips);
}
