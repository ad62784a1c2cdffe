// The sections with charts, failures and lineages.

const KIND_NAMES = { valid: "valid", failure: "failure", timeout: "time-out", fault: "infrastructure fault", lost: "lost to overlap" };

function clearCharts(parent) {
  parent.querySelectorAll("canvas").forEach((canvas) => Chart.getChart(canvas)?.destroy());
  fill(parent);
}

// The curves of each run for a task; runs without that task are left out.
function runsWithCurves(scope) {
  return DATA.runs.map((run, place) => ({ run, place, curves: run.curves[scope] })).filter((entry) => entry.curves);
}

// The name of the run in front, if there are several.
function panelTitle(run, title) {
  return DATA.runs.length > 1 ? `${run.name}: ${title}` : title[0].toUpperCase() + title.slice(1);
}

function perRun(runs, name) {
  return runs.map(({ run, place, curves }) => smoothLine(run.name, curves.step, curves[name], runColour(place)));
}

function drawCurves(scope) {
  const runs = runsWithCurves(scope);
  const parent = byId("curve-charts");
  clearCharts(parent);
  lineChart(parent, { title: "Valid share", note: "Share of the scored completions with a valid submission.", datasets: perRun(runs, "valid_share"), unit: "share" });
  lineChart(parent, { title: "Reward of valid programs", note: "Public score on the scale of the reward, from −1 to 1.", datasets: perRun(runs, "valid_reward") });
  lineChart(parent, { title: "Best reward so far", datasets: runs.map(({ run, place, curves }) => [{ label: run.name, data: points(curves.step, curves.best_reward), borderColor: runColour(place), backgroundColor: runColour(place), stepped: true, pointRadius: 0, borderWidth: 2 }]) });
  lineChart(parent, { title: "Mean reward", note: "All scored completions, failures included.", datasets: perRun(runs, "reward") });
  for (const { run, curves } of runs) {
    lineChart(parent, {
      title: panelTitle(run, "reward parts"),
      note: "Mean over all scored completions: the parts add up to the mean reward.",
      datasets: ["score", "milestones", "failure"].map((part, place) => smoothLine(part, curves.step, curves[`part/${part}`], colourOf(place + 2))),
    });
    lineChart(parent, {
      title: panelTitle(run, "what became of the completions"),
      datasets: KINDS.filter((kind) => curves[`kind/${kind}`].some((share) => share > 0)).map((kind) => {
        const colour = cssColour(kind);
        return [{ label: KIND_NAMES[kind], data: points(curves.step, curves[`kind/${kind}`]), borderColor: colour, backgroundColor: faded(colour, 0.75), fill: "stack", pointRadius: 0, borderWidth: 1 }];
      }),
      unit: "share",
      stacked: true,
    });
  }
  drawMilestones(runs);
  drawSeconds(runs);
  drawDiversity(runs);
}

function meanOf(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

function drawMilestones(runs) {
  const parent = byId("milestone-charts");
  clearCharts(parent);
  const labels = DATA.milestones.map((name) => name.replaceAll("_", " "));
  for (const { run, place, curves } of runs) {
    const fifth = Math.max(1, Math.floor(curves.step.length / 5));
    const stretch = (name, part) => DATA.milestones.map((milestone) => meanOf(part(curves[`milestone/${milestone}`], fifth)));
    barChart(parent, {
      title: panelTitle(run, "milestone funnel"),
      note: "Share of the scored completions whose program reached each milestone.",
      labels,
      datasets: [
        { label: "first fifth", data: stretch("first", (values, count) => values.slice(0, count)), backgroundColor: faded(runColour(place), 0.4) },
        { label: "last fifth", data: stretch("last", (values, count) => values.slice(-count)), backgroundColor: runColour(place) },
      ],
      unit: "share",
      horizontal: true,
    });
    lineChart(parent, {
      title: panelTitle(run, "milestones over the run"),
      datasets: DATA.milestones.map((milestone, index) => {
        const values = smoothed(curves[`milestone/${milestone}`]);
        return [{ label: labels[index], data: points(curves.step, values), borderColor: colourOf(index), backgroundColor: colourOf(index), pointRadius: 0, borderWidth: 1.8 }];
      }),
      unit: "share",
    });
  }
}

function drawSeconds(runs) {
  const parent = byId("duration-charts");
  clearCharts(parent);
  for (const { run, place, curves } of runs) {
    const colour = runColour(place);
    const line = (label, name, more) => [{ label, data: points(curves.step, curves[name]), borderColor: colour, backgroundColor: faded(colour, 0.2), pointRadius: 0, borderWidth: 1, ...more }];
    lineChart(parent, {
      title: panelTitle(run, "duration of programs"),
      note: "The band holds the middle 80 % of the programs of a batch.",
      datasets: [line("90 %", "seconds/q90", { fill: "+1" }), line("10 %", "seconds/q10"), line("median", "seconds/q50", { borderWidth: 2.4 }), line("mean", "seconds/mean", { borderDash: [5, 4], borderWidth: 2 })],
      unit: "seconds",
      logarithmic: true,
    });
  }
  DATA.runs.forEach((run, place) => drawQuarters(parent, run, place));
}

function drawQuarters(parent, run, place) {
  const whole = run.quarters.find((stretch) => stretch.name === "whole run");
  if (!whole) return;
  const labels = QUARTER_NAMES.map((name, quarter) => [name, `≤ ${seconds(whole.longest_s[quarter])}`]);
  const stretches = run.quarters.filter((stretch) => stretch.name !== "whole run");
  const bars = (name) => stretches.map((stretch, index) => ({ label: stretch.name, data: stretch[name], backgroundColor: faded(runColour(place), index ? 1 : 0.4) }));
  barChart(parent, { title: panelTitle(run, "mean reward by duration"), note: "Seconds are those of the whole run; each stretch has quarters of its own.", labels, datasets: bars("reward") });
  barChart(parent, { title: panelTitle(run, "valid share by duration"), labels, datasets: bars("valid_share"), unit: "share" });
  barChart(parent, {
    title: panelTitle(run, "advantage mass by duration"),
    note: "Share of the sum of absolute advantages that each quarter carries, over the whole run.",
    labels,
    datasets: [
      { label: "before the weighting", data: whole.mass, backgroundColor: faded(runColour(place), 0.4) },
      { label: "as trained on", data: whole.weighted_mass, backgroundColor: runColour(place) },
    ],
    unit: "share",
  });
}

function drawDiversity(runs) {
  const parent = byId("diversity-charts");
  clearCharts(parent);
  lineChart(parent, { title: "Distinct programs", note: "Share of the programs of a batch that differ from each other.", datasets: perRun(runs, "distinct_share"), unit: "share" });
  const entropy = DATA.runs.map((run, place) => (run.logged.entropy ? smoothLine(run.name, run.logged.entropy.x, run.logged.entropy.y, runColour(place)) : []));
  lineChart(parent, { title: "Entropy per token", note: "As the trainer logs it, in nats.", datasets: entropy, min: 0 });
  lineChart(parent, { title: "Prompts that show an earlier solution", datasets: perRun(runs, "improve_share"), unit: "share" });
  lineChart(parent, { title: "Depth of lineages", note: "Mean number of earlier solutions behind a completion.", datasets: perRun(runs, "depth"), min: 0 });
}

function drawMetric(name) {
  const parent = byId("metric-charts");
  clearCharts(parent);
  const datasets = DATA.runs.map((run, place) => (run.logged[name] ? smoothLine(run.name, run.logged[name].x, run.logged[name].y, runColour(place)) : []));
  lineChart(parent, { title: name, datasets });
}

function showFailures() {
  const parent = byId("failure-tables");
  const tables = DATA.runs.map((run) => {
    const largest = Math.max(...run.failures.map((entry) => entry.share), 0.0001);
    const rows = run.failures.map((entry) =>
      el(
        "tr",
        {},
        el("td", { class: "class", text: entry.name }),
        el("td", { class: "number", text: number(entry.count) }),
        el("td", { class: "optional" }, el("span", { class: "bar", style: { width: `${Math.round((90 * entry.share) / largest)}px` } })),
        el("td", { class: "number", text: `${percent(entry.first_share)} → ${percent(entry.last_share)}` }),
        el("td", { class: "number optional", text: `${number(entry.first_step)} – ${number(entry.last_step)}` }),
        el("td", {}, el("span", { class: "chips" }, ...entry.examples.map((row) => openButton(row, `#${row}`)))),
      ),
    );
    const head = ["class", "count", "", "first → last fifth", "steps", "examples"].map((text, place) =>
      el("th", { text, class: [2, 4].includes(place) ? "optional" : [1, 3].includes(place) ? "number" : "" }),
    );
    const table = el("table", { class: "small" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
    const body = rows.length ? el("div", { class: "scroll" }, table) : el("p", { class: "muted", text: "No rollout failed." });
    return el("div", {}, DATA.runs.length > 1 ? el("h3", { text: run.name }) : null, body);
  });
  fill(parent, ...tables);
}

function openButton(row, text) {
  return el("button", { type: "button", text, on: { click: () => openDetail(row) } });
}

function showLineages() {
  const parts = [];
  for (const run of DATA.runs) {
    if (DATA.runs.length > 1) parts.push(el("h3", { text: run.name }));
    if (run.lineage_note) parts.push(el("p", { class: "muted", text: run.lineage_note }));
    for (const best of run.lineage) {
      const title = best.improved ? "best solution that was written to improve another one" : "best solution";
      parts.push(el("h3", { text: `${best.task}: ${title}` }), ...best.chain.map((entry, place) => lineageStep(entry, best.chain[place - 1])));
    }
    if (!run.lineage.length && !run.lineage_note) parts.push(el("p", { class: "muted", text: "No program was valid." }));
  }
  fill(byId("lineages"), ...parts);
}

function lineageStep(entry, parent) {
  const scores = `public ${number(entry.public)} · private ${number(entry.private)} · reward ${number(entry.reward)} · ${seconds(entry.seconds)}`;
  const where = entry.step === null ? "before training" : `step ${number(entry.step)}`;
  const code = el("details", {}, el("summary", { text: parent ? "Changes to the solution before" : "Program" }));
  code.addEventListener("toggle", () => {
    if (code.open && code.childElementCount === 1) code.append(parent ? diffView(parent.program, entry.program) : codeView(entry.program));
  });
  return el(
    "div",
    { class: "step" },
    el("p", {}, kindBadge(entry.kind), ` ${where}, prompt: ${entry.prompt} `, entry.row === null ? null : openButton(entry.row, `#${entry.row}`)),
    el("p", { class: "muted", text: scores }),
    entry.plan ? el("p", { class: "plan", text: entry.plan }) : null,
    code,
  );
}
