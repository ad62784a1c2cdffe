// The data of the page: JSON, compressed and in base64. Texts lie in blocks, which are unpacked when one of their texts is wanted.

const KINDS = ["valid", "failure", "timeout", "fault", "lost"];
const TEXTS = ["program", "instrumented", "plan", "stdout", "stderr", "completion", "turns", "reason"];
const BLOCKS_KEPT = 12;
let DATA = null;
let BLOCKS = [];
const unpackedBlocks = new Map();

async function unpack(base64) {
  const binary = atob(base64.trim());
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function loadData() {
  DATA = await unpack(byId("data").textContent);
  BLOCKS = Array.from(document.querySelectorAll("script.block"));
}

function block(place) {
  let texts = unpackedBlocks.get(place);
  if (texts === undefined) {
    texts = unpack(BLOCKS[place].textContent);
    unpackedBlocks.set(place, texts);
    if (unpackedBlocks.size > BLOCKS_KEPT) unpackedBlocks.delete(unpackedBlocks.keys().next().value);
  }
  return texts;
}

// Text with this number, or an empty string for none.
async function textOf(id) {
  if (id < 0) return "";
  let low = 0;
  let high = DATA.starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (DATA.starts[middle] <= id) low = middle;
    else high = middle - 1;
  }
  return (await block(low))[id - DATA.starts[low]];
}

async function textsOfRow(row) {
  const found = await Promise.all(TEXTS.map((name) => textOf(DATA.table[name][row])));
  return Object.fromEntries(TEXTS.map((name, place) => [name, found[place]]));
}

// Numbers of the texts that contain `words` in any case. `progress` gets the share of blocks that are done; if it returns false,
// the search ends and the result is null.
async function searchTexts(words, progress) {
  const wanted = words.toLowerCase();
  const found = new Set();
  for (let place = 0; place < BLOCKS.length; place += 1) {
    // Past blocks are not kept: a search over a large file would fill the memory of a phone.
    const texts = unpackedBlocks.has(place) ? await block(place) : await unpack(BLOCKS[place].textContent);
    texts.forEach((text, offset) => {
      if (text.toLowerCase().includes(wanted)) found.add(DATA.starts[place] + offset);
    });
    if (!progress((place + 1) / BLOCKS.length)) return null;
  }
  return found;
}
