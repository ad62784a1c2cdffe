// The view of one rollout: facts, program, marks, output, turns, and what changed since its parent.

let openRow = null;

function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "–" && value !== "");
  return el("dl", { class: "facts" }, ...shown.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", {}, value))));
}

function rowFacts(row) {
  const table = DATA.table;
  const at = (name) => table[name][row];
  const own = at("own") || {};
  return facts([
    ["run", DATA.runs[at("run")].name],
    ["task", at("task")],
    ["step", number(at("step"))],
    ["reward", number(at("reward"))],
    ["public score", number(at("public"))],
    ["private score", number(at("private"))],
    ["duration", seconds(at("seconds"))],
    ["CPU time", seconds(at("cpu"))],
    ["memory", at("memory") ? `${number(at("memory") / 1e6, 3)} MB` : "–"],
    ["milestones", milestonePips(at("milestones"))],
    ["advantage", number(at("advantage"))],
    ["duration weight", number(at("weight"))],
    ["prompt", at("prompt") && at("depth") ? `${at("prompt")}, depth ${at("depth")}` : at("prompt")],
    ...Object.entries(own).map(([name, value]) => [`own ${name.replaceAll("_", " ")}`, number(value)]),
  ]);
}

async function openDetail(row) {
  openRow = row;
  const dialog = byId("detail");
  const table = DATA.table;
  const texts = await textsOfRow(row);
  if (openRow !== row) return;
  const parent = table.parent[row];
  const parentProgram = parent === null ? "" : await textOf(table.program[parent]);
  const close = el("button", { type: "button", text: "Close", on: { click: () => dialog.close() } });
  const [before, after] = neighbours(row);
  const step = (target, text) => {
    const button = el("button", { type: "button", text, on: { click: () => openDetail(target) } });
    button.disabled = target === undefined;
    return button;
  };
  const name = table.class[row] >= 0 ? DATA.classes[table.class[row]] : "";
  fill(
    dialog,
    el("div", { class: "detail-head" }, el("h3", {}, `Rollout #${row} `, kindBadge(table.kind[row])), step(before, "‹"), step(after, "›"), close),
    el(
      "div",
      { class: "detail-body" },
      name ? el("p", { text: name }) : null,
      rowFacts(row),
      parent === null ? null : el("p", {}, "Parent: ", openButton(parent, `#${parent}`)),
      tabs(row, texts, parentProgram),
    ),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  history.replaceState(null, "", `#rollout-${row}`);
}

function tabs(row, texts, parentProgram) {
  if (!DATA.table.has_texts[row]) {
    return el("p", { class: "muted", text: `The texts of this rollout are not in this file, to keep it small. They are in row ${DATA.table.row[row]} of the run's rollouts.` });
  }
  const output = [texts.stdout, texts.stderr].some(Boolean);
  const entries = [
    ["Program", texts.program || texts.plan ? () => el("div", {}, texts.plan ? el("p", { class: "plan", text: texts.plan }) : null, codeView(texts.program)) : null],
    ["Changes", parentProgram && texts.program ? () => diffView(parentProgram, texts.program) : null],
    ["Turns", texts.turns ? () => turnsView(texts.turns) : null],
    ["Output", output ? () => el("div", {}, ...[["stdout", texts.stdout], ["stderr", texts.stderr]].filter(([, text]) => text).flatMap(([label, text]) => [el("h3", { text: label }), textView(text)])) : null],
    ["Marks", texts.instrumented ? () => codeView(texts.instrumented) : null],
    ["Completion", texts.completion ? () => textView(texts.completion) : null],
    ["Reasons", texts.reason ? () => textView(texts.reason) : null],
  ].filter(([, view]) => view);
  if (!entries.length) return el("p", { class: "muted", text: "Nothing was kept of this rollout." });
  const body = el("div", { role: "tabpanel" });
  const buttons = entries.map(([label, view], place) =>
    el("button", { type: "button", role: "tab", "aria-selected": String(place === 0), text: label, on: { click: (event) => {
      buttons.forEach((button) => button.setAttribute("aria-selected", String(button === event.currentTarget)));
      fill(body, view());
    } } }),
  );
  fill(body, entries[0][1]());
  return el("div", {}, el("div", { class: "tabs", role: "tablist" }, ...buttons), body);
}

function turnsView(text) {
  let turns = null;
  try {
    turns = JSON.parse(text);
  } catch {
    return textView(text);
  }
  if (!Array.isArray(turns)) return textView(text);
  return el("div", {}, ...turns.map((turn, place) => turnView(turn, place)));
}

function turnView(turn, place) {
  if (turn === null || typeof turn !== "object") return textView(String(turn));
  const small = Object.entries(turn).filter(([, value]) => ["number", "boolean"].includes(typeof value) || (typeof value === "string" && value.length < 60 && !value.includes("\n")));
  const smallNames = new Set(small.map(([name]) => name));
  const large = Object.entries(turn).filter(([name, value]) => !smallNames.has(name) && value !== null && value !== "");
  return el(
    "details",
    { class: "turn", open: place === 0 ? "" : undefined },
    el("summary", { text: `Turn ${place + 1}${turn.tool ? `: ${turn.tool}` : ""}` }),
    facts(small.map(([name, value]) => [name.replaceAll("_", " "), typeof value === "number" ? number(value) : String(value)])),
    ...large.flatMap(([name, value]) => [
      el("h3", { text: name.replaceAll("_", " ") }),
      typeof value !== "string" ? textView(JSON.stringify(value, null, 1)) : name === "code" || name === "program" ? codeView(value) : textView(value),
    ]),
  );
}
