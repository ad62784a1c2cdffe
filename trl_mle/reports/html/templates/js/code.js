// Code, output and differences, line by line.

const MARK = "[[trl_mle:";
const MAX_LINES = 4000;
const CONTEXT = 3;
const TOKEN =
  /("""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|(#[^\n]*)|\b(and|as|assert|async|await|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b|\b(\d+(?:\.\d+)?(?:e[-+]?\d+)?)\b/g;

// Lines of Python code, each a list of [class, text].
function colouredLines(code) {
  const lines = [[]];
  const put = (kind, text) => {
    text.split("\n").forEach((part, place) => {
      if (place) lines.push([]);
      if (part) lines[lines.length - 1].push([kind, part]);
    });
  };
  let end = 0;
  for (const match of code.matchAll(TOKEN)) {
    put("", code.slice(end, match.index));
    put(match[1] ? "string" : match[2] ? "comment" : match[3] ? "keyword" : "literal", match[0]);
    end = match.index + match[0].length;
  }
  put("", code.slice(end));
  return lines;
}

function lineNode(parts, name, label) {
  return el("span", { class: `line ${name}`, "data-n": label }, ...parts.map(([kind, text]) => (kind ? el("span", { class: kind, text }) : text)));
}

function codeView(code) {
  const lines = colouredLines(code);
  const shown = lines.slice(0, MAX_LINES).map((parts, place) => lineNode(parts, parts.some(([, text]) => text.includes(MARK)) ? "mark" : "", place + 1));
  if (lines.length > MAX_LINES) shown.push(lineNode([["", `… ${lines.length - MAX_LINES} more lines`]], "skip", ""));
  return el("pre", { class: "code", tabindex: "0" }, ...shown);
}

function textView(text) {
  return el("pre", { tabindex: "0", text });
}

function diffView(before, after) {
  // The time is limited: two texts without common lines take the longest.
  const changes = Diff.diffLines(before.replace(/\n?$/, "\n"), after.replace(/\n?$/, "\n"), { timeout: 1500 });
  if (!changes) return el("p", { class: "muted", text: "The two programs differ too much to be compared line by line." });
  if (changes.every((change) => !change.added && !change.removed)) return el("p", { class: "muted", text: "The two programs are equal." });
  const lines = [];
  let number = 1;
  changes.forEach((change, place) => {
    const texts = change.value.replace(/\n$/, "").split("\n");
    const changed = change.added || change.removed;
    const head = place > 0 ? CONTEXT : 0;
    const tail = place < changes.length - 1 ? CONTEXT : 0;
    texts.forEach((text, index) => {
      const near = changed || index < head || index >= texts.length - tail;
      if (near) lines.push(lineNode([["", text]], change.added ? "added" : change.removed ? "removed" : "", change.added ? `+${number}` : change.removed ? "−" : number));
      else if (index === head) lines.push(lineNode([["", `… ${texts.length - head - tail} equal lines`]], "skip", ""));
      if (!change.removed) number += 1;
    });
  });
  return el("pre", { class: "code diff", tabindex: "0" }, ...lines.slice(0, MAX_LINES));
}
