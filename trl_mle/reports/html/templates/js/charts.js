// Charts, drawn by Chart.js.

const PALETTE = ["#1f77b4", "#e07b00", "#2a9d5c", "#b5408f", "#7a5cc4", "#0f9aa8", "#c8553d", "#7d8b2f"];
const QUARTER_NAMES = ["fastest", "second", "third", "slowest"];

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function runColour(run) {
  return PALETTE[run % PALETTE.length];
}

function colourOf(place) {
  return PALETTE[place % PALETTE.length];
}

function faded(colour, alpha) {
  return colour + Math.round(255 * alpha).toString(16).padStart(2, "0");
}

function setChartDefaults() {
  Chart.defaults.animation = false;
  Chart.defaults.responsive = true;
  Chart.defaults.maintainAspectRatio = false;
  Chart.defaults.color = cssColour("muted");
  Chart.defaults.borderColor = cssColour("line");
  Chart.defaults.font.family = "system-ui, sans-serif";
  Chart.defaults.font.size = 11;
}

// A card with a title, a plot and a note. Returns the canvas, or null if there is nothing to draw.
function chartCard(parent, title, note) {
  const canvas = el("canvas", { role: "img", "aria-label": title });
  parent.append(
    el("div", { class: "chart" }, el("h4", { text: title }), el("div", { class: "plot" }, canvas), note ? el("p", { class: "muted", text: note }) : null),
  );
  return canvas;
}

function points(steps, values) {
  return steps.map((x, place) => ({ x, y: values[place] })).filter((point) => point.y !== null && point.y !== undefined && point.x !== null);
}

// Mean over a window of about a tenth of the curve around each point; missing values do not count.
function smoothed(values) {
  const half = Math.floor(Math.max(1, Math.round(values.length / 10)) / 2);
  return values.map((_, place) => {
    const near = values.slice(Math.max(0, place - half), place + half + 1).filter((value) => value !== null);
    return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
  });
}

// Dots of the values, and their running mean as a line.
function smoothLine(label, steps, values, colour, more) {
  if (values.every((value) => value === null)) return [];
  const dots = { label: "", data: points(steps, values), showLine: false, pointRadius: 1.8, borderColor: faded(colour, 0.35), backgroundColor: faded(colour, 0.35) };
  const line = { label, data: points(steps, smoothed(values)), borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: 0, ...more };
  return values.length > 4 ? [dots, line] : [{ ...line, pointRadius: 3, data: points(steps, values) }];
}

function lineChart(parent, { title, note, datasets, unit, min, max, logarithmic, stacked }) {
  const drawn = datasets.flat();
  if (!drawn.some((dataset) => dataset.data.length)) return;
  const share = unit === "share";
  const named = drawn.filter((dataset) => dataset.label);
  new Chart(chartCard(parent, title, note), {
    type: "line",
    data: { datasets: drawn },
    options: {
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: { type: "linear", bounds: "data", title: { display: true, text: "step" }, ticks: { maxTicksLimit: 7, precision: 0 } },
        y: {
          type: logarithmic ? "logarithmic" : "linear",
          min: share ? 0 : min,
          max: share ? 1 : max,
          stacked: Boolean(stacked),
          title: { display: Boolean(unit) && !share, text: unit || "" },
          ticks: { maxTicksLimit: 7, callback: (value) => (share ? `${Math.round(100 * value)} %` : number(value, 3)) },
        },
      },
      plugins: {
        legend: { display: named.length > 1, position: "bottom", labels: { boxWidth: 10, boxHeight: 10, filter: (item) => Boolean(item.text) } },
        tooltip: {
          filter: (item) => Boolean(item.dataset.label),
          callbacks: {
            title: (items) => (items.length ? `step ${number(items[0].parsed.x)}` : ""),
            label: (item) => `${item.dataset.label}: ${share ? `${(100 * item.parsed.y).toFixed(1)} %` : number(item.parsed.y)}`,
          },
        },
      },
    },
  });
}

function barChart(parent, { title, note, labels, datasets, unit, horizontal }) {
  const drawn = datasets.filter((dataset) => dataset.data.some((value) => value !== null));
  if (!drawn.length) return;
  const share = unit === "share";
  const shown = (value) => (share ? `${(100 * value).toFixed(1)} %` : number(value));
  const values = { beginAtZero: true, max: share && horizontal ? 1 : undefined, title: { display: Boolean(unit) && !share, text: unit || "" }, ticks: { maxTicksLimit: 6, callback: (value) => (share ? `${Math.round(100 * value)} %` : number(value, 3)) } };
  new Chart(chartCard(parent, title, note), {
    type: "bar",
    data: { labels, datasets: drawn },
    options: {
      indexAxis: horizontal ? "y" : "x",
      interaction: { mode: "index", intersect: false, axis: horizontal ? "y" : "x" },
      scales: horizontal ? { x: values, y: { ticks: { autoSkip: false } } } : { y: values, x: { ticks: { autoSkip: false, maxRotation: 0 } } },
      plugins: {
        legend: { display: drawn.length > 1, position: "bottom", labels: { boxWidth: 10, boxHeight: 10 } },
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${shown(horizontal ? item.parsed.x : item.parsed.y)}` } },
      },
    },
  });
}
