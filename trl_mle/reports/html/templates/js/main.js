// The start: unpack the data, draw every section.

async function start() {
  const message = byId("message");
  if (typeof DecompressionStream === "undefined") {
    message.textContent = "This browser cannot unpack the data. Chrome 80, Firefox 113, Safari 16.4 and newer ones can.";
    return;
  }
  await loadData();
  setChartDefaults();
  document.querySelectorAll("[data-run]").forEach((dot) => dot.style.setProperty("background", runColour(Number(dot.dataset.run))));
  const scopes = Array.from(new Set(DATA.runs.flatMap((run) => Object.keys(run.curves))));
  const scope = options(byId("scope"), scopes.map((name) => [name, name || "all tasks"]), "");
  scope.closest("p").hidden = scopes.length < 2;
  scope.addEventListener("change", () => drawCurves(scope.value));
  drawCurves("");
  const names = Array.from(new Set(DATA.runs.flatMap((run) => Object.keys(run.logged)))).sort();
  const metric = options(byId("metric"), names.map((name) => [name, name]), names.includes("programs/score_or_worst") ? "programs/score_or_worst" : names[0]);
  metric.addEventListener("change", () => drawMetric(metric.value));
  if (names.length) drawMetric(metric.value);
  else metric.closest("p").replaceChildren("The run has no log.");
  showFailures();
  showLineages();
  makeTable();
  byId("detail").addEventListener("close", () => {
    openRow = null;
    history.replaceState(null, "", "#rollouts");
  });
  message.hidden = true;
  document.documentElement.dataset.ready = "true";
  const linked = /^#rollout-(\d+)$/.exec(location.hash);
  if (linked && Number(linked[1]) < DATA.table.run.length) openDetail(Number(linked[1]));
}

function showError(error) {
  byId("message").hidden = false;
  byId("message").textContent = `Something in this report cannot be shown: ${error && error.message ? error.message : error}`;
}

window.addEventListener("unhandledrejection", (event) => showError(event.reason));
start().catch(showError);
