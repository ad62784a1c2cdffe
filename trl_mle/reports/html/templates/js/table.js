// The table of rollouts: filters, full-text search, order, pages.

const PAGE_ROWS = 50;
const COLUMNS = [
  { name: "#", key: (row) => row, text: (row) => String(row), number: true, optional: true },
  { name: "step", key: (row) => DATA.table.step[row], text: (row) => number(DATA.table.step[row]), number: true },
  { name: "run", key: (row) => DATA.runs[DATA.table.run[row]].name, text: (row) => DATA.runs[DATA.table.run[row]].name, optional: true, several: () => DATA.runs.length > 1 },
  { name: "task", key: (row) => DATA.table.task[row], text: (row) => DATA.table.task[row], optional: true },
  { name: "outcome", key: (row) => DATA.table.kind[row], node: (row) => kindBadge(DATA.table.kind[row]) },
  { name: "reward", key: (row) => DATA.table.reward[row], text: (row) => number(DATA.table.reward[row]), number: true },
  { name: "public", key: (row) => DATA.table.public[row], text: (row) => number(DATA.table.public[row]), number: true },
  { name: "private", key: (row) => DATA.table.private[row], text: (row) => number(DATA.table.private[row]), number: true, optional: true },
  { name: "duration", key: (row) => DATA.table.seconds[row], text: (row) => seconds(DATA.table.seconds[row]), number: true },
  { name: "milestones", key: (row) => bitCount(DATA.table.milestones[row]), node: (row) => milestonePips(DATA.table.milestones[row]), optional: true },
  { name: "prompt", key: (row) => DATA.table.prompt[row], text: (row) => DATA.table.prompt[row], optional: true, several: () => new Set(DATA.table.prompt).size > 1 },
  { name: "failure", key: (row) => className(row), text: (row) => className(row), class: "class", optional: true },
];
const view = { rows: [], page: 0, sort: "#", descending: true, words: "", found: null, search: 0 };

function bitCount(bits) {
  let count = 0;
  for (let rest = bits; rest; rest &= rest - 1) count += 1;
  return count;
}

function className(row) {
  return DATA.table.class[row] < 0 ? "" : DATA.classes[DATA.table.class[row]];
}

function shownColumns() {
  return COLUMNS.filter((column) => !column.several || column.several());
}

function makeTable() {
  const table = DATA.table;
  const distinct = (values) => Array.from(new Set(values)).filter((value) => value !== "");
  const select = (name, label, entries) => [entries.length > 1, el("label", { text: label }, options(el("select", { name }), [["", "all"], ...entries]))];
  const used = Array.from(new Set(table.class)).filter((place) => place >= 0).sort((one, other) => DATA.classes[one].localeCompare(DATA.classes[other]));
  const filters = [
    [true, el("label", { class: "wide", text: "Search in programs, output, tasks and failures" }, el("input", { type: "search", name: "words", placeholder: "such as GradientBoosting" }))],
    select("run", "Run", DATA.runs.map((run, place) => [String(place), run.name])),
    select("task", "Task", distinct(table.task).map((task) => [task, task])),
    select("kind", "Outcome", KINDS.filter((kind) => table.kind.includes(kind)).map((kind) => [kind, KIND_NAMES[kind]])),
    select("prompt", "Prompt", distinct(table.prompt).map((prompt) => [prompt, prompt])),
    select("class", "Failure", used.map((place) => [String(place), DATA.classes[place]])),
    [true, el("label", { text: "Order" }, orderSelect())],
  ];
  const form = fill(byId("filters"), ...filters.filter(([shown]) => shown).map(([, node]) => node));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target.name === "order") orderBy(...target.value.split("|"));
    // The search field changes when it loses the focus, as by a click on a row, which must not be drawn anew meanwhile.
    else if (target.name !== "words") showTable();
  });
  let waiting = 0;
  form.elements.words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(searchWords, 250);
  });
  byId("previous").addEventListener("click", () => turnPage(-1));
  byId("next").addEventListener("click", () => turnPage(1));
  showTable();
}

function orderSelect() {
  const entries = shownColumns().flatMap(({ name }) => (name === "#" ? [["#|down", "newest first"], ["#|up", "oldest first"]] : [[`${name}|down`, `${name} ↓`], [`${name}|up`, `${name} ↑`]]));
  return options(el("select", { name: "order" }), entries, "#|down");
}

function orderBy(name, direction) {
  view.sort = name;
  view.descending = direction === "down";
  showTable();
}

// Null while the search goes on or if there is none.
async function searchWords() {
  const words = byId("filters").elements.words.value.trim();
  const search = (view.search += 1);
  view.words = words.toLowerCase();
  view.found = null;
  if (words) {
    const found = await searchTexts(words, (share) => {
      if (view.search === search && share < 1) byId("count").textContent = `Searching … ${percent(share)}`;
      return view.search === search;
    });
    if (found === null) return;
    view.found = found;
  }
  showTable();
}

function matches(row, wanted) {
  const table = DATA.table;
  if (wanted.run !== "" && table.run[row] !== Number(wanted.run)) return false;
  if (wanted.task !== "" && table.task[row] !== wanted.task) return false;
  if (wanted.kind !== "" && table.kind[row] !== wanted.kind) return false;
  if (wanted.prompt !== "" && table.prompt[row] !== wanted.prompt) return false;
  if (wanted.class !== "" && table.class[row] !== Number(wanted.class)) return false;
  if (view.found === null) return true;
  if (TEXTS.some((name) => view.found.has(table[name][row]))) return true;
  return table.task[row].toLowerCase().includes(view.words) || className(row).toLowerCase().includes(view.words);
}

function showTable() {
  const elements = byId("filters").elements;
  const wanted = Object.fromEntries(["run", "task", "kind", "prompt", "class"].map((name) => [name, elements[name] ? elements[name].value : ""]));
  const all = DATA.table.run.length;
  view.rows = [];
  for (let row = 0; row < all; row += 1) if (matches(row, wanted)) view.rows.push(row);
  sortRows();
  view.page = 0;
  const left = DATA.left_out ? ` ${number(DATA.left_out)} older rollouts are not in this file.` : "";
  byId("count").textContent = `${number(view.rows.length)} of ${number(all)} rollouts.${left}`;
  byId("count").dataset.words = view.words; // what the shown rows were searched for
  elements.order.value = `${view.sort}|${view.descending ? "down" : "up"}`;
  showPage();
}

// Missing values come last in both directions. Equal ones keep the order of the run.
function sortRows() {
  const column = COLUMNS.find(({ name }) => name === view.sort);
  const sign = view.descending ? -1 : 1;
  const missing = (value) => value === null || value === undefined || value === "";
  view.rows.sort((one, other) => {
    const [first, second] = [column.key(one), column.key(other)];
    if (missing(first) || missing(second)) return missing(first) - missing(second) || one - other;
    if (first < second) return -sign;
    return first > second ? sign : one - other;
  });
}

function showPage() {
  const columns = shownColumns();
  const head = columns.map((column) => {
    const sorted = view.sort === column.name;
    const button = el("button", { type: "button", text: `${column.name}${sorted ? (view.descending ? " ↓" : " ↑") : ""}` });
    button.addEventListener("click", () => orderBy(column.name, sorted && view.descending ? "up" : "down"));
    return el("th", { class: cellClass(column), scope: "col", "aria-sort": sorted ? (view.descending ? "descending" : "ascending") : undefined }, button);
  });
  const rows = view.rows.slice(view.page * PAGE_ROWS, (view.page + 1) * PAGE_ROWS).map((row) => tableRow(row, columns));
  fill(byId("table").tHead, el("tr", {}, ...head));
  fill(byId("table").tBodies[0], ...rows);
  const pages = Math.max(1, Math.ceil(view.rows.length / PAGE_ROWS));
  byId("page").textContent = `Page ${view.page + 1} of ${number(pages)}`;
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page >= pages - 1;
}

function cellClass(column) {
  return [column.number ? "number" : "", column.optional ? "optional" : "", column.class || ""].join(" ").trim();
}

function tableRow(row, columns) {
  const cells = columns.map((column) => el("td", { class: cellClass(column) }, column.node ? column.node(row) : column.text(row)));
  const node = el("tr", { tabindex: "0", "data-row": row }, ...cells);
  node.addEventListener("click", () => openDetail(row));
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter") openDetail(row);
  });
  return node;
}

function turnPage(by) {
  view.page += by;
  showPage();
  byId("table").scrollIntoView({ block: "start" });
}

// The rows before and after a row, in the order of the table.
function neighbours(row) {
  const place = view.rows.indexOf(row);
  return place < 0 ? [undefined, undefined] : [view.rows[place - 1], view.rows[place + 1]];
}
