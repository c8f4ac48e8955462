"use strict";
const COLUMNS = ["id", "sample", "model", "family", "need", "mode", "verdict", "ended", "step",
  "reward", "calls", "failed", "tokens", "kinds", "question", "answer", "block"];
const AT = Object.fromEntries(COLUMNS.map((name, at) => [name, at]));
const LISTED = ["model", "family", "need", "verdict", "step", "reward", "calls", "tokens", "question"];
const FILTERS = ["model", "family", "need", "mode", "verdict", "ended", "kinds"];
const PAGE = 200;
const LEAST_PX = 128, MOST_PX = 384;
const state = { rows: [], found: [], listed: [], wanted: {}, text: "", sort: null, down: false, limit: PAGE,
  chosen: null, beside: null };
const byId = (name) => document.getElementById(name);

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (name) node.className = name;
  return node;
}

async function unpack(node) {
  const packed = Uint8Array.from(atob(node.textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// The rest of the file may still be on its way: the list is shown before it is there.
async function waitFor(name) {
  while (!byId(name) && document.readyState === "loading")
    await new Promise((done) => setTimeout(done, 50));
  return byId(name);
}

const blocks = new Map();
async function detail(row) {
  const number = row[AT.block];
  if (!blocks.has(number)) {
    if (blocks.size > 30) blocks.delete(blocks.keys().next().value);
    blocks.set(number, unpack(await waitFor(`block-${number}`)));
  }
  const found = await blocks.get(number);
  return found.find((one) => one.id === row[AT.id] && one.model === row[AT.model]);
}

function compare(left, right) {
  const at = AT[state.sort];
  const [a, b] = state.down ? [right[at], left[at]] : [left[at], right[at]];
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return a < b ? -1 : 1;
}

function search() {
  const text = state.text.toLowerCase();
  state.found = state.rows.filter((row) => {
    for (const name of FILTERS) {
      const wanted = state.wanted[name];
      if (wanted === undefined || wanted === "") continue;
      const value = row[AT[name]];
      if (name === "kinds" ? !value.includes(wanted) : value !== wanted) return false;
    }
    return !text || `${row[AT.question]}\n${row[AT.answer]}\n${row[AT.id]}\n${row[AT.sample]}`
      .toLowerCase().includes(text);
  });
  if (state.sort) state.found = [...state.found].sort(compare);
  state.limit = PAGE;
  remember();
  list();
}

// The address holds filters, order and what is open, so that a view can be passed on.
function remember() {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(state.wanted)) if (value) said.set(name, value);
  if (state.text) said.set("text", state.text);
  if (state.sort) said.set("sort", (state.down ? "-" : "") + state.sort);
  if (state.chosen) said.set("open", keyOf(state.chosen));
  if (state.beside) said.set("beside", keyOf(state.beside));
  history.replaceState(null, "", `#${said}`);
}

function recall() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const name of FILTERS) {
    const select = byId(`filter-${name}`);
    if (!select || !said.has(name)) continue;
    state.wanted[name] = select.value = said.get(name);
  }
  state.text = byId("filter-text").value = said.get("text") || "";
  const sort = said.get("sort") || "";
  if (state.listed.includes(sort.replace("-", ""))) order(sort.replace("-", ""), sort.startsWith("-"));
  const named = (key) => (key && state.rows.find((row) => keyOf(row) === key)) || null;
  [state.chosen, state.beside] = [named(said.get("open")), named(said.get("beside"))];
}

function keyOf(row) {
  return `${row[AT.model]}/${row[AT.id]}`;
}

function list() {
  const body = byId("rows");
  body.replaceChildren(...state.found.slice(0, state.limit).map(line));
  byId("more").hidden = state.found.length <= state.limit;
  const right = state.found.filter((row) => row[AT.verdict] === "correct").length;
  const graded = state.found.filter((row) => ["correct", "incorrect"].includes(row[AT.verdict]));
  const share = graded.length ? `, ${(100 * right / graded.length).toFixed(1)} % of ${graded.length} graded right` : "";
  byId("count").textContent = `${state.found.length} of ${state.rows.length} trajectories${share}`;
}

function line(row) {
  const node = make("tr");
  node.dataset.id = row[AT.id];
  node.setAttribute("aria-selected", String(row === state.chosen));
  for (const name of state.listed) {
    const value = row[AT[name]];
    const text = typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : value;
    const cell = make("td", name === "question" ? null : text, name === "verdict" ? value : "");
    if (name === "question") cell.append(make("div", value, name));
    cell.title = value ?? "";
    node.append(cell);
  }
  node.onclick = () => choose(row);
  return node;
}

async function choose(row) {
  [state.chosen, state.beside] = [row, null];
  for (const node of byId("rows").children)
    node.setAttribute("aria-selected", String(node.dataset.id === row[AT.id]));
  remember();
  await show();
  byId("shown").scrollTop = 0;
}

async function show() {
  const chosen = state.chosen;
  const columns = [article(await detail(chosen), chosen)];
  if (state.beside) columns.push(article(await detail(state.beside), state.beside));
  if (chosen === state.chosen) byId("shown").replaceChildren(...columns);
}

function article(one, row) {
  const node = make("article");
  node.append(make("h2", one.question || one.prompt));
  const verdict = make("p", null, "facts");
  verdict.append(make("b", `${one.model}: ${one.verdict || "not graded"}`, one.verdict));
  verdict.append(` | answer: ${one.answer ?? "none"} | reference: ${one.reference} | ended: ${one.ended}`);
  node.append(verdict);
  // Both sides have this line, so that pictures and turns begin at one height.
  node.append(row === state.chosen ? chooser(row) : make("p", placeOf(row), "facts beside"));
  if (one.failure) node.append(make("pre", one.failure, "seen bad"));
  const boxes = one.turns.flatMap((turn, at) => (turn.boxes || []).map((box) => [at + 1, ...box]));
  one.images.forEach((image, at) =>
    node.append(picture(image, boxes.filter((box) => box[1] === at + 1))));
  one.turns.forEach((turn, at) => node.append(...shownTurn(turn, at + 1)));
  if (one.training) node.append(training(one.training));
  const context = make("details");
  context.append(make("summary", "prompt"), make("pre", one.system), make("pre", one.prompt));
  node.append(context, make("p", `sample ${one.sample} | trajectory ${one.id} | policy ${one.policy}`
    + ` | protocol ${one.protocol} | attempt ${one.attempt}`, "facts"));
  return node;
}

function placeOf(row) {
  return [row[AT.model], row[AT.mode], row[AT.verdict], `${row[AT.calls]} calls`,
    row[AT.step] === null ? "" : `step ${row[AT.step]}`].filter(Boolean).join(", ");
}

function chooser(row) {
  const others = state.rows.filter((other) => other[AT.sample] === row[AT.sample] && other !== row);
  const label = make("label", "beside it: ", "facts beside");
  const select = make("select");
  select.id = "beside";
  select.append(new Option(others.length ? "nothing" : "no other trajectory of this sample", ""));
  others.slice(0, 200).forEach((other, at) => select.append(new Option(placeOf(other), at)));
  if (state.beside) select.value = String(others.indexOf(state.beside));
  select.onchange = () => {
    state.beside = select.value === "" ? null : others[Number(select.value)];
    remember();
    show();
  };
  label.append(select);
  return label;
}

function picture([hash, width, height], boxes = []) {
  const node = make("figure");
  // Its place is kept while the rest of the file is on its way.
  node.style.minHeight = `${Math.round(height * scaleOf(width, height))}px`;
  waitFor(`picture-${hash}`).then((found) => {
    if (!found) return node.append(make("p", `picture ${hash.slice(0, 12)} is not here`, "facts"));
    const image = make("img");
    image.alt = `${width} x ${height} px`;
    image.title = image.alt;
    image.width = Math.round(width * scaleOf(width, height));
    if (scaleOf(width, height) > 1) image.className = "enlarged";
    image.src = `data:${found.dataset.mediaType};base64,${found.textContent}`;
    node.append(image);
    if (boxes.length) node.append(overlay(width, height, boxes));
  });
  return node;
}

// Small crops are enlarged, large pictures made to fit; both sides alike.
function scaleOf(width, height) {
  const longest = Math.max(width, height, 1);
  return Math.min(Math.max(1, LEAST_PX / longest), MOST_PX / longest);
}

function overlay(width, height, boxes) {
  const space = "http://www.w3.org/2000/svg";
  const node = document.createElementNS(space, "svg");
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  // Numbers of turns are as large as text, whatever the picture is scaled to.
  const size = 13 / scaleOf(width, height);
  for (const [turn, , left, top, right, bottom] of boxes) {
    const box = document.createElementNS(space, "rect");
    const sides = { x: Math.min(left, right), y: Math.min(top, bottom),
      width: Math.abs(right - left), height: Math.abs(bottom - top) };
    for (const [name, value] of Object.entries(sides)) box.setAttribute(name, value);
    const mark = document.createElementNS(space, "text");
    mark.setAttribute("font-size", size);
    mark.setAttribute("x", Math.min(sides.x, width - size));
    mark.setAttribute("y", sides.y > size * 1.2 ? sides.y - size * 0.2 : sides.y + sides.height + size);
    mark.textContent = turn;
    node.append(box, mark);
  }
  return node;
}

// Thinking, action and answer look different; what fits no form is shown as it is.
function pieces(text) {
  const found = [];
  const form = /<(think|code|tool_call|answer)>([\s\S]*?)(?:<\/\1>|$)/g;
  let end = 0;
  for (const match of text.matchAll(form)) {
    if (text.slice(end, match.index).trim()) found.push(["", text.slice(end, match.index)]);
    found.push([match[1] === "tool_call" ? "code" : match[1], match[2]]);
    end = match.index + match[0].length;
  }
  if (text.slice(end).trim()) found.push(["", text.slice(end)]);
  return found;
}

function shownTurn(turn, number) {
  const kind = turn.kind ? ` (${turn.kind})` : "";
  const nodes = [make("h3", `turn ${number}: ${turn.does}${kind}, ${turn.tokens} tokens`)];
  for (const [name, text] of pieces(turn.text)) nodes.push(make("pre", text.trim(), name));
  if (!turn.seen) return nodes;
  const dropped = turn.seen.dropped ? `\n(${turn.seen.dropped} characters were cut off)` : "";
  nodes.push(make("pre", turn.seen.text + dropped, turn.seen.status === "ok" ? "seen" : "seen bad"));
  return nodes.concat(turn.seen.images.map((image) => picture(image)));
}

// A picture is hundreds of equal tokens that nobody wrote: they are counted, not spelled.
function folded(tokens) {
  const found = [];
  for (const [token, logprob] of tokens) {
    const last = found[found.length - 1];
    if (last && logprob === null && last[1] === null && last[0] === token) last[2] += 1;
    else found.push([token, logprob, 1]);
  }
  return found;
}

function training(facts) {
  const node = make("details");
  node.open = true;
  const said = ["reward", "accuracy", "format", "advantage"].map((name) =>
    `${name} ${facts[name] === null ? "none" : facts[name].toFixed(3)}`).join(", ");
  node.append(make("summary", `step ${facts.step}: ${said}`), make("p", `group ${facts.group}`, "facts"));
  if (!facts.tokens) return node;
  const text = make("div", null, "tokens");
  for (const [token, logprob, times] of folded(facts.tokens)) {
    const said = times > 1 ? `${token} x ${times} ` : token;
    const span = make("span", said, logprob === null ? "given" : "");
    if (logprob !== null) {
      span.title = `log-probability ${logprob}`;
      span.style.background = `rgba(224, 90, 40, ${Math.min(0.8, -logprob / 4).toFixed(2)})`;
    }
    text.append(span);
  }
  node.append(make("p", "Grey tokens were not written by the policy and are not trained on; the "
    + "darker a token, the less likely it was.", "facts"), text);
  return node;
}

function filters() {
  for (const name of FILTERS) {
    const values = [...new Set(state.rows.flatMap((row) => row[AT[name]]))].sort();
    if (values.length < 2) continue;
    const label = make("label", name);
    const select = make("select");
    select.id = `filter-${name}`;
    select.append(new Option("all", ""), ...values.map((value) => new Option(value || "(none)", value)));
    select.onchange = () => { state.wanted[name] = select.value; search(); };
    label.append(select);
    byId("filters").append(label);
  }
  const label = make("label", "text in question, answer or id");
  const input = make("input");
  input.id = "filter-text";
  input.type = "search";
  input.oninput = () => { state.text = input.value; search(); };
  label.append(input);
  byId("filters").append(label);
}

function heads() {
  // A column that says the same of every trajectory only takes room from the questions.
  const tells = (name) => new Set(state.rows.map((row) => row[AT[name]])).size > 1;
  state.listed = LISTED.filter((name) => ["verdict", "question"].includes(name) || tells(name));
  for (const name of state.listed) {
    const node = make("th", name);
    node.scope = "col";
    node.onclick = () => {
      order(name, state.sort === name && !state.down);
      search();
    };
    byId("heads").append(node);
  }
}

function order(name, down) {
  [state.sort, state.down] = [name, down];
  for (const node of byId("heads").children) {
    node.removeAttribute("aria-sort");
    if (node.textContent === name) node.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
}

function step(by) {
  const at = state.found.indexOf(state.chosen) + by;
  if (at < 0 || at >= state.found.length) return;
  if (at >= state.limit) { state.limit = at + PAGE; list(); }
  choose(state.found[at]);
  byId("rows").children[at].scrollIntoView({ block: "nearest" });
}

async function start() {
  const index = await unpack(byId("index"));
  state.rows = index.rows;
  heads();
  filters();
  recall();
  search();
  byId("more").onclick = () => { state.limit += PAGE; list(); };
  document.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.key === "ArrowDown") { event.preventDefault(); step(1); }
    if (event.key === "ArrowUp") { event.preventDefault(); step(-1); }
  });
  document.body.dataset.listedAfterMs = Math.round(performance.now());
  if (state.chosen) await show();
}

start();
