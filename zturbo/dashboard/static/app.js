"use strict";
// The page of zturbo. Texts from outside are only ever set as text, never as markup.

const PARTS = [["code", "the stage's code"], ["input", "waits for input"], ["held", "held back by what follows"], ["own", "zturbo itself"]];
const EVERY = 500;
const ROWS = 100; // of jobs that are shown at a time
const KEEP = 300;
const $ = (id) => document.getElementById(id);
let state = null;
let lanes = new Map();
let lines = [];
let afterLine = 0;
let span = Number(new URLSearchParams(location.search).get("span")) || 120;
let drawn = "";

function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const view = () => location.pathname.split("/")[1] || "pipeline";
const query = (name) => new URLSearchParams(location.search).get(name) || "";
const rate = (n) => (n >= 9999.5 ? `${Math.round(n / 1000)}k/s` : n >= 9.95 ? `${Math.round(n)}/s` : n >= 0.095 || !n ? `${n.toFixed(1)}/s` : `${n.toFixed(2)}/s`);
const count = (n) => n.toLocaleString("en");
const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`);
const percent = (x) => `${Math.round(100 * x)} %`;
function time(s) {
  if (s === null || s === undefined) return "–";
  if (s < 0.00095) return `${Math.round(s * 1e6)} µs`;
  if (s < 0.0095) return `${(s * 1e3).toFixed(1)} ms`;
  if (s < 0.95) return `${Math.round(s * 1e3)} ms`;
  return s < 100 ? `${s.toFixed(1)} s` : `${Math.round(s / 60)} min`;
}

function setQuery(changes) {
  const all = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) if (value) all.set(name, value); else all.delete(name);
  const text = all.toString();
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
}

function bar(shares) {
  const node = el("div", { class: "bar", role: "img", "aria-label": PARTS.map(([, name], i) => `${name} ${percent(shares[i])}`).join(", ") });
  node.title = node.getAttribute("aria-label");
  PARTS.forEach(([name], i) => {
    const part = el("span", { class: name });
    part.style.width = `${100 * shares[i]}%`;
    node.append(part);
  });
  return node;
}

function legend() {
  return el("ul", { class: "legend" }, ...PARTS.map(([name, text]) => el("li", {}, el("i", { class: name }), text)));
}

// Make what is shown equal to what is wanted, and leave alone all that is so already: then focus, selection and
// places of scrolling stay, and little has to be laid out anew.
function morph(shown, wanted) {
  const staying = new Set(wanted.map((node) => node.dataset && node.dataset.key));
  for (const node of [...shown.children]) if (node.dataset.key && !staying.has(node.dataset.key)) node.remove();
  const keyed = new Map([...shown.children].filter((node) => node.dataset.key).map((node) => [node.dataset.key, node]));
  wanted.forEach((next, i) => {
    let now = shown.childNodes[i];
    const key = next.dataset && next.dataset.key;
    if (key && (!now || now.dataset.key !== key)) {
      const mine = keyed.get(key);
      shown.insertBefore(mine || next, now || null);
      if (!mine) return;
      now = mine;
    }
    if (!now) shown.append(next);
    else if (now.nodeName !== next.nodeName || (now.id || "") !== (next.id || "")) now.replaceWith(next);
    else if (now.nodeType === Node.TEXT_NODE) { if (now.data !== next.data) now.data = next.data; }
    else alike(now, next);
  });
  while (shown.childNodes.length > wanted.length) shown.lastChild.remove();
}

function alike(now, next) {
  const active = now === document.activeElement;
  if (active && now.nodeName === "SELECT") return; // its list may be open
  if (next.dataset.version && now.dataset.version === next.dataset.version) return; // what is in it is the same
  for (const { name } of [...now.attributes]) if (!next.hasAttribute(name) && !OWN.has(name)) now.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    const typed = name === "value" && active;
    if (name !== "style" && !typed && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  if (now.style.width !== next.style.width) now.style.width = next.style.width;
  if (now.nodeName !== "CANVAS") morph(now, [...next.childNodes]);
  if ((now.nodeName === "SELECT" || now.nodeName === "INPUT") && !active && now.value !== next.value) now.value = next.value;
}
const OWN = new Set(["style", "width", "height", "title"]);

// -- views ---------------------------------------------------------------------------------------
function pipelineView() {
  const out = [];
  for (const pipeline of state.pipelines) {
    const limit = pipeline.bottleneck.stage;
    out.push(el("h2", { text: pipeline.pipeline }));
    out.push(el("p", { class: limit ? "verdict limit" : "verdict", id: out.length === 1 ? "verdict" : null, text: pipeline.bottleneck.text }));
    const flow = el("div", { class: "flow" });
    for (const stage of pipeline.stages) {
      const here = stage.stage === limit;
      flow.append(el("div", { class: here && stage.waiting ? "edge full" : "edge" }, el("b", { text: count(stage.waiting) }), el("div", { class: "arrow" }), el("span", { text: stage.waiting === 1 ? "waits" : "wait" })));
      const s = stage.shares;
      const workers = `${stage.workers} ${stage.workers === 1 ? "worker" : "workers"}, ${stage.busy} busy${stage.starting ? `, ${stage.starting} starting` : ""}`;
      flow.append(el("section", { class: here ? "stage limit" : "stage", "aria-label": stage.stage },
        el("h3", { text: stage.stage }),
        here ? el("span", { class: "mark", text: stage.workers ? "slowest stage" : "no worker" }) : null,
        el("div", { class: "rate", text: rate(stage.rate) }),
        bar([s.code, s.input, s.held, s.own]),
        Math.abs(stage.given - stage.rate) > 0.1 * stage.rate + 0.05 ? el("p", { text: `outputs: ${rate(stage.given)}` }) : null,
        el("p", { text: `${percent(s.code + s.own)} busy` }),
        el("p", { text: workers }),
        pipeline.problems[stage.stage] && !(here && !stage.workers) ? el("p", { class: "bad", text: `does not start: ${pipeline.problems[stage.stage]}` }) : null,
        el("p", { text: `${time(stage.p50)} a task, 99 %: ${time(stage.p99)}` })));
    }
    out.push(flow);
  }
  out.push(legend());
  return out;
}

// The view of workers: each has a lane. Samples of all workers' shares come with the state. What single tasks did
// is asked for of those lanes that are on the screen, if the window is short; or of the one that is pointed at.
const FINE = 30; // seconds of a window whose single tasks are drawn
const SHORTEST = 0.02;
const AGAIN = 2000; // milliseconds between two questions about the same window
const MOST = 24; // lanes that are asked about at a time
const WINDOWS = [[10, "10 seconds"], [30, "30 seconds"], [120, "2 minutes"], [300, "5 minutes"]];
let edge = null; // right end of the window; null while it follows the time
let spans = new Map(); // lane -> {from, to, list, error}
let askedAt = 0;
let asking = false;
let cursor = null; // {lane, at}: what the box with numbers is about
let dragged = null; // {lane, x}: where the mouse went down

const clock = () => performance.now() / 1000;
const windowEnd = () => (edge === null ? clock() : edge);
const size = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : n >= 1e3 ? `${Math.round(n / 1e3)} kB` : `${n} B`);

function workersView() {
  const choices = WINDOWS.some(([value]) => value === span) ? WINDOWS : [[span, time(span)], ...WINDOWS];
  const choose = el("select", { id: "span", "data-query": "span" }, ...choices.map(([value, text]) => el("option", { value, text, selected: value === span })));
  const tools = el("div", { class: "tools" }, el("label", { for: "span", text: edge === null ? "The last" : "A piece of" }), choose,
    ...[["in", "Zoom in"], ["out", "Zoom out"], ["earlier", "Earlier"], ["later", "Later"]].map(([name, text]) => el("button", { id: `zoom-${name}`, "data-zoom": name, text })),
    edge === null ? null : el("button", { id: "zoom-now", "data-zoom": "now", text: "Follow" }),
    el("span", { class: "quiet", text: edge === null ? "Drag over a lane to zoom in, point at it for tasks and times." : `It ended ${time(clock() - edge)} ago.` }));
  const alive = new Set(state.lanes.map((lane) => lane.id));
  const rows = laneOrder().filter((lane) => lane.past.length && (alive.has(lane.id) || lane.past.at(-1)[0] > windowEnd() - span)).map((lane) => {
    const now = state.lanes.find((one) => one.id === lane.id);
    const canvas = el("canvas", { "data-lane": lane.id, tabindex: 0, role: "img", "aria-label": `what ${lane.name} on ${lane.host} did: arrows move along it, + and - zoom` });
    const about = now ? `${rate(now.rate)}` : "has left";
    const title = now ? `process ${now.pid} on ${now.host}, ${bytes(now.memory)}, ${now.waiting} wait in it` : `on ${lane.host}`;
    return el("div", { class: now ? "lane" : "lane gone", "data-name": lane.name, "data-key": lane.id }, el("span", { class: `stage-${lane.order % 8}`, text: lane.name, title }), canvas, el("span", { text: about }));
  });
  queueMicrotask(paintAll);
  return [tools, legend(), ...rows, rows.length ? null : el("p", { class: "quiet", text: "No worker has joined." })];
}

const laneOrder = () => [...lanes.values()].sort((a, b) => a.order - b.order || a.name.localeCompare(b.name) || a.id.localeCompare(b.id));

function onScreen(canvas) {
  const box = canvas.getBoundingClientRect();
  return box.bottom >= 0 && box.top <= innerHeight;
}

function paintAll() {
  const style = getComputedStyle(document.documentElement);
  const colours = PARTS.map(([name]) => style.getPropertyValue(`--${name}`).trim());
  // All is measured before anything is drawn: else each lane would have the page laid out anew.
  const shown = [...document.querySelectorAll("canvas[data-lane]")].filter(onScreen).map((canvas) => [canvas, canvas.clientWidth]);
  for (const [canvas, wide] of shown) paint(canvas, colours, wide);
}

function paint(canvas, colours, wide) {
  const lane = lanes.get(canvas.dataset.lane);
  if (!lane) return;
  const width = Math.round(wide * devicePixelRatio) || 600;
  const height = Math.round(24 * devicePixelRatio);
  const pen = canvas.getContext("2d");
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  else pen.clearRect(0, 0, width, height);
  const begin = windowEnd() - span;
  const scale = width / span;
  const known = span <= FINE && spans.has(lane.id) ? spans.get(lane.id).list : [];
  const covered = known.length ? [known[0][0], known.at(-1)[0] + known.at(-1)[1]] : [0, 0];
  const stack = (x, w, shares) => { // parts above each other
    let y = height;
    for (const part of [0, 3, 2, 1]) {
      const h = height * shares[part];
      pen.fillStyle = colours[part];
      pen.fillRect(x, y - h, w, h);
      y -= h;
    }
  };
  lane.past.forEach((sample, i) => {
    const next = i + 1 < lane.past.length ? lane.past[i + 1][0] : sample[0] + 0.6;
    const x = scale * (sample[0] - begin);
    const w = scale * (next - sample[0]);
    if (x + w >= 0 && x <= width && !(sample[0] > covered[0] && next < covered[1])) stack(x, w + 1, sample.slice(1));
  });
  for (const one of known) {
    const x = scale * (one[0] - begin);
    const w = scale * one[1];
    if (x > width || x + w < 0) continue;
    pen.clearRect(x, 0, w, height);
    if (w < 6) { stack(x, Math.max(w, 1), one.slice(2, 6).map((part) => part / one[1])); continue; }
    let at = x;
    for (const part of [1, 2, 0, 3]) { // beside each other, as in a trace
      pen.fillStyle = colours[part];
      pen.fillRect(at, 0, scale * one[2 + part], height);
      at += scale * one[2 + part];
    }
    pen.clearRect(x + w - 1, 0, 1, height);
  }
}

addEventListener("scroll", () => { if (view() === "workers") paintAll(); }, { passive: true });

// Ask what these lanes did between two times, and keep it.
async function readSpans(ids, from, to) {
  if (asking || !ids.length) return;
  asking = true;
  try {
    const asked = new URLSearchParams([["since", clock() - from], ["until", clock() - to], ...ids.map((id) => ["lane", id])]);
    const answer = await fetch(`/api/spans?${asked}`);
    if (!answer.ok) return;
    const now = clock();
    for (const lane of await answer.json()) {
      const list = lane.spans.map(([ago, ...rest]) => [now - ago, ...rest]);
      for (const [job, path, seconds] of lane.running) list.push([now - seconds, seconds, seconds, 0, 0, 0, 0, job, path, path, false, 0, 0, true]);
      spans.set(lane.id, { from, to, list, error: lane.error });
    }
    if (cursor) showTip();
  } finally { asking = false; }
}

async function followSpans() {
  const to = windowEnd();
  for (const id of spans.keys()) if (!lanes.has(id)) spans.delete(id);
  if (view() !== "workers" || span > FINE || document.hidden) return;
  const fresh = performance.now() - askedAt < AGAIN;
  const ids = [...document.querySelectorAll("canvas[data-lane]")].filter(onScreen).map((canvas) => canvas.dataset.lane);
  const covered = (one) => one && one.from <= to - span && (one.to >= to || (edge === null && fresh));
  const missing = ids.filter((id) => !covered(spans.get(id))).slice(0, MOST);
  if (!missing.length || (fresh && missing.every((id) => spans.has(id)))) return;
  askedAt = performance.now();
  await readSpans(missing, to - span, to);
  paintAll();
}

// -- zoom ----------------------------------------------------------------------------------------
function setWindow(from, to) {
  span = Math.min(KEEP, Math.max(SHORTEST, to - from));
  edge = to >= clock() - 0.05 ? null : Math.max(clock() - KEEP + span, to);
  setQuery({ span: String(Number(span.toFixed(3))) });
  draw(true);
  followSpans();
}

function zoom(what, at) {
  const to = windowEnd();
  const middle = at !== undefined ? at : edge === null ? to : to - span / 2; // what stays where it is
  const before = middle - to + span;
  const by = { in: 0.5, out: 2 }[what];
  const step = { earlier: -span / 2, later: span / 2 }[what];
  if (by) setWindow(middle - before * by, Math.min(clock(), middle + (span - before) * by));
  else if (step) { const end = Math.min(clock(), to + step); setWindow(end - span, end); }
  else setWindow(clock() - span, clock());
}

const timeAt = (canvas, x) => { const box = canvas.getBoundingClientRect(); return windowEnd() - span * (1 - (x - box.left) / box.width); };

document.addEventListener("pointerdown", (event) => {
  if (event.target instanceof HTMLCanvasElement && event.pointerType !== "touch" && !event.button) dragged = { canvas: event.target, x: event.clientX, at: timeAt(event.target, event.clientX) };
});

document.addEventListener("pointermove", (event) => {
  if (dragged) {
    const box = dragged.canvas.getBoundingClientRect();
    const [a, b] = [dragged.x, Math.min(box.right, Math.max(box.left, event.clientX))].sort((one, other) => one - other);
    $("drag").hidden = b - a < 4;
    $("drag").style.left = `${a}px`;
    $("drag").style.width = `${b - a}px`;
    return;
  }
  const canvas = event.target instanceof HTMLCanvasElement && lanes.has(event.target.dataset.lane) ? event.target : null;
  if (canvas) point(canvas, timeAt(canvas, event.clientX), event.clientX, event.clientY);
  else if (cursor && document.activeElement !== cursor.canvas) unpoint();
});

document.addEventListener("pointerup", (event) => {
  if (!dragged) return;
  const { canvas, x, at } = dragged;
  dragged = null;
  $("drag").hidden = true;
  const to = timeAt(canvas, event.clientX);
  if (Math.abs(event.clientX - x) >= 4) setWindow(Math.min(at, to), Math.min(clock(), Math.max(at, to)));
});

document.addEventListener("keydown", (event) => {
  const canvas = event.target;
  if (!(canvas instanceof HTMLCanvasElement) || event.ctrlKey || event.metaKey || event.altKey) return;
  const mine = cursor && cursor.canvas === canvas ? cursor.at : windowEnd() - span / 2;
  const step = span / (event.shiftKey ? 500 : 50);
  const box = canvas.getBoundingClientRect();
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const at = Math.min(windowEnd(), Math.max(windowEnd() - span, mine + (event.key === "ArrowLeft" ? -step : step)));
    point(canvas, at, box.left + box.width * (1 - (windowEnd() - at) / span), box.bottom);
  } else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? "in" : "out", mine);
  else if (event.key === "Escape") unpoint();
  else return;
  event.preventDefault();
});

document.addEventListener("focusout", (event) => { if (cursor && event.target === cursor.canvas) unpoint(); });

// -- the box with numbers ------------------------------------------------------------------------
let pointing = 0;
function point(canvas, at, x, y) {
  cursor = { canvas, at, x, y };
  showTip();
  clearTimeout(pointing);
  const reach = Math.max(0.05, span / 100);
  if (!spanAt(canvas.dataset.lane, at)) pointing = setTimeout(async () => {
    if (span > FINE) await readSpans([canvas.dataset.lane], at - reach, at + reach);
  }, 150);
}

function unpoint() {
  clearTimeout(pointing);
  cursor = null;
  $("tip").hidden = true;
}

function spanAt(id, at) {
  const known = spans.get(id);
  return known && known.list.find((one) => one[0] <= at && at < one[0] + one[1]);
}

function showTip() {
  const lane = lanes.get(cursor.canvas.dataset.lane);
  const now = state.lanes.find((one) => one.id === lane.id);
  const one = spanAt(lane.id, cursor.at);
  const sample = lane.past.filter((some) => some[0] <= cursor.at).at(-1);
  const known = spans.get(lane.id);
  const texts = [`${lane.name} on ${lane.host}${now ? `, process ${now.pid}` : ""}`];
  if (one) texts.push(...spanTexts(one));
  else if (sample) texts.push(`${time(clock() - cursor.at)} ago: ${PARTS.map(([, name], i) => `${name} ${percent(sample[1 + i])}`).join(", ")}`);
  if (!one && known && known.error) texts.push(known.error);
  const tip = $("tip");
  tip.replaceChildren(...texts.map((text) => el("p", { text })));
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(cursor.x + 12, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${cursor.y + 18 + tip.offsetHeight > innerHeight ? Math.max(4, cursor.y - tip.offsetHeight - 14) : cursor.y + 18}px`;
}

// began, seconds, code, input, held, own, tasks, job, first path, last path, other jobs, bytes taken, bytes given, runs still
function spanTexts(one) {
  const [began, seconds, , , , , tasks, job, first, last, several, taken, given, still] = one;
  const texts = [`${time(clock() - began)} ago, for ${time(seconds)}${still ? ", not finished" : ""}`];
  if (job) {
    const known = state.jobs.find((some) => some.id === job);
    const called = known ? `job "${known.name}" (${job.slice(0, 12)})` : `job ${job.slice(0, 12)}`;
    texts.push(`${called}${several ? " and others" : ""}`);
    texts.push(tasks > 1 || first !== last ? `${count(tasks)} ${tasks === 1 ? "task" : "tasks"}, ${first} to ${last}` : `task ${first}`);
  }
  const parts = PARTS.map(([, name], i) => [name, one[2 + i]]).filter(([, part]) => part > 1e-6).map(([name, part]) => `${name} ${time(part)}`);
  texts.push(parts.join(", "));
  const sizes = [taken ? `took ${size(taken)}` : "", given ? `packed ${size(given)} of outputs` : ""].filter(Boolean);
  if (sizes.length) texts.push(sizes.join(", "));
  return texts;
}

function table(heads, rows, id) {
  const cell = (tag, value, numeric) => (value instanceof Node ? el(tag, { class: numeric ? "n" : null }, value) : el(tag, { class: numeric ? "n" : null, text: value }));
  return el("div", { class: "scroll" }, el("table", { id },
    heads.some(Boolean) ? el("thead", {}, el("tr", {}, ...heads.map((head) => cell("th", head.replace("#", ""), head.startsWith("#"))))) : null,
    el("tbody", {}, ...rows.map((row) => el("tr", { "data-key": keyOf(row) }, ...row.map((value, i) => cell("td", value, heads[i].startsWith("#"))))))));
}

// Rows of jobs begin with a link to the job.
const keyOf = (row) => (row[0] instanceof Element ? row[0].getAttribute("href") : null);

const LIVE = new Set(["waiting", "running"]);
const jobState = (job) => el("span", { class: `state ${job.state}`, text: job.state });

function lasting(s) { // 12 s, 3 min 5 s, 2 h 4 min, 5 d
  if (s < 59.5) return `${s < 9.95 ? Math.max(0, s).toFixed(1) : Math.round(s)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return whole < 86400 ? `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min` : `${Math.round(whole / 86400)} d`;
}
// The age in whole minutes, so that a row is not drawn anew for it alone.
function age(job) {
  if (!job.created || !state.clock) return "–";
  const s = Math.max(0, state.clock - job.created);
  return s < 60 ? "< 1 min" : s < 3600 ? `${Math.floor(s / 60)} min` : lasting(s);
}
const took = (job) => (job.created && job.ended ? lasting(job.ended - job.created) : "–");

function progress(job) {
  if (job.error) return job.error;
  if (job.waiting) return `waits for ${job.waiting}`;
  return job.counts.map((one) => `${one.stage} ${count(one.done)}${one.running ? ` + ${one.running}` : ""}`).join(" → ");
}

function buttons(job) {
  const out = el("span", { class: "tools" });
  if (state.viewer) return out; // the broker refuses both to such a key
  if (LIVE.has(job.state)) out.append(el("button", { class: "danger cancel", text: "Cancel", "aria-label": `Cancel ${job.name}`, "data-act": "cancel", "data-job": job.id }));
  if (job.state === "done" && job.failed) out.append(el("button", { text: "Retry failed", "aria-label": `Retry failed tasks of ${job.name}`, "data-act": "retry", "data-job": job.id }));
  return out;
}

// A node may stand for another job after the next drawing, so what a button does is asked when it is pressed.
const ACTS = {
  cancel: (job) => act(job, "cancel", `Cancel job "${job.name}"? Its tasks end, and its results are dropped.`),
  retry: (job) => act(job, "retry", `Run the ${job.failed === 1 ? "failed task" : `${count(job.failed)} failed tasks`} of "${job.name}" again, as a new job? This reads its results: another client that reads them stops.`),
  failures: (job) => showFailures(job.id),
};

function jobsView() {
  const name = decodeURIComponent(location.pathname.split("/")[2] || "");
  if (name) return jobView(name);
  const words = query("words").toLowerCase().split(/\s+/).filter(Boolean);
  const found = state.jobs.filter((job) => words.every((word) => `${job.name} ${job.pipeline} ${job.state} ${job.id}`.toLowerCase().includes(word)));
  found.sort((a, b) => LIVE.has(b.state) - LIVE.has(a.state) || b.number - a.number);
  const totals = Object.entries(state.totals).map(([name, n]) => `${count(n)} ${name}`).join(", ") || "no jobs; zturbo submit PIPELINE CONTENT runs one";
  return [
    el("div", { class: "tools" }, el("label", { for: "words", text: "Filter" }), filter("words"), el("span", { class: "quiet", text: totals })),
    table(["Job", "Name", "Pipeline", "State", "#Age", "#Took", "#Memory", "#Results", "#Failed", "Progress", ""], found.slice(0, ROWS).map((job) => [
      el("a", { href: `/jobs/${job.id}`, text: job.id.slice(0, 12) }), job.name, job.pipeline, jobState(job), age(job), took(job), LIVE.has(job.state) ? size(job.memory) : "–", count(job.results), count(job.failed), progress(job), buttons(job)]), "jobs"),
    found.length > ROWS ? el("p", { class: "quiet", text: `and ${count(found.length - ROWS)} more: filter by name, pipeline, state or id` }) : null,
  ];
}

function filter(name, hint) {
  return el("input", { id: name, type: "search", placeholder: hint, value: query(name), "data-query": name, "aria-label": "Filter" });
}

let failures = null;
let older = {}; // a job that is not among the last ones: its id, and its status once the broker has answered
const jobOf = (id) => state.jobs.find((one) => one.id === id) || (older.id === id ? older.status : undefined);
async function readOlder() {
  const id = view() === "jobs" && decodeURIComponent(location.pathname.split("/")[2] || "");
  if (!id || state.jobs.some((one) => one.id === id) || (older.id === id && clock() - older.at < 2)) return;
  const answer = await fetch(`/api/jobs/${encodeURIComponent(id)}`);
  older = { id, at: clock(), status: answer.ok ? await answer.json() : null };
  drawn = "";
}

function jobView(id) {
  const job = jobOf(id);
  if (!job) return [el("p", { text: job === undefined ? "Asking the broker…" : "The broker knows no such job: it was released, or ended long ago." }), el("a", { href: "/jobs", text: "all jobs" })];
  const facts = [["Job", job.id], ["Pipeline", job.pipeline], ["State", jobState(job)], ["Results", count(job.results)], ["Failed tasks", count(job.failed)],
    ["Epoch", String(job.epoch)], ["Created", job.created ? new Date(1000 * job.created).toLocaleString() : "–"]];
  facts.push(["Took", took(job)]);
  if (LIVE.has(job.state)) facts.push(["Input", `${size(job.input_bytes)} of root tasks`], ["Memory", `about ${size(job.memory)} of the broker's`], ["Stored", `about ${size(job.stored)} of results at the sink`]);
  if (job.waiting) facts.push(["Waits for", job.waiting]);
  if (job.error) facts.push(["Error", job.error]);
  const out = [el("h2", { text: job.name }), buttons(job), table(["", ""], facts), el("h2", { text: "Stages" }),
    table(["Stage", "#Queued", "#Running", "#Done", "#Failed"], job.counts.map((one) => [one.stage, count(one.queued), count(one.running), count(one.done), count(one.failed)]))];
  if (job.incidents.length) out.push(el("h2", { text: "Incidents" }), el("div", { class: "log" }, ...job.incidents.map((text) => el("pre", { text }))));
  if (job.state === "done" && job.failed) {
    out.push(el("h2", { text: "Failed tasks" }));
    if (failures && failures.job === id) out.push(...failures.found.map((one) => el("div", { class: "log" }, el("pre", { class: "bad", text: `${one.stage || ""} ${one.error}` }), el("pre", { text: `input: ${one.input}` }), el("pre", { text: one.traceback || "" }))));
    else out.push(el("button", { text: "Show them", "data-act": "failures", "data-job": id }), el("p", { class: "quiet", text: "This reads the job's results: another client that reads them stops." }));
  }
  out.push(el("p", {}, el("a", { href: `/logs?job=${job.id}`, text: "its log" })));
  return out;
}

async function showFailures(id) {
  const answer = await post(id, "failures");
  if (answer) failures = { job: id, found: answer.failures };
  draw(true);
}

function hostsView() {
  const gpus = state.hosts.flatMap((host) => host.gpus.map((gpu) => [host.host, String(gpu.index), gpu.name,
    gpu.load === null ? "-" : `${gpu.load} %`, gpu.total ? `${bytes(gpu.used)} of ${bytes(gpu.total)}` : "-"]));
  const rate = (n) => (n ? `${size(n)}/s` : "–");
  return [table(["Host", "#Processes", "CPU", "#Memory", "#Shared memory", "#Received", "#Sent"], state.hosts.map((host) => {
    const share = host.cores ? Math.min(1, host.cpu / host.cores) : 0;
    return [host.host, count(host.processes), el("span", {}, bar([share, 1 - share, 0, 0]), `${Math.round(100 * host.cpu)} % of ${host.cores} cores`), bytes(host.memory), host.shared ? size(host.shared) : "–", rate(host.received), rate(host.sent)];
  })), ...(gpus.length ? [el("h2", { text: "GPUs" }), table(["Host", "#GPU", "Name", "#Load", "#Memory"], gpus)] : []), el("h2", { text: "Processes" }), table(["Process", "Host", "#Pid", "#CPU", "#Memory", "#Waiting in it", "Last heard of"], state.lanes.map((lane) => [lane.name, lane.host, String(lane.pid), percent(lane.cpu), bytes(lane.memory), count(lane.waiting), lane.heard > 2.5 ? `${Math.round(lane.heard)} s ago` : "now"]))];
}

const two = (n) => String(n).padStart(2, "0");
function stamp(seconds) {
  const at = new Date(1000 * seconds);
  return `${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

function logLine(line) {
  const from = state.hosts.length > 1 && line.host ? ` on ${line.host}` : "";
  const path = line.path.length ? ` ${line.path.join(".")}` : "";
  const job = line.job ? [" [", el("a", { href: `/logs?job=${line.job}`, text: line.job.slice(0, 12) }), `${path}]`] : [];
  return el("pre", { class: line.level, "data-key": `line ${line.number}` }, `${stamp(line.at)} ${line.level} ${line.source}${from}`, ...job, `: ${line.text}`);
}

const NAMED = 100; // jobs in the list of a filter
const SHOWN = 500; // lines of the log
function choice(name, label, first, options) {
  const now = query(name);
  if (now && !options.some(([value]) => value === now)) options.unshift([now, now]);
  return el("select", { id: name, "data-query": name, "aria-label": label },
    ...[["", first], ...options].map(([value, text]) => el("option", { value, text, selected: value === now })));
}

function jobChoices() {
  const known = [...state.jobs].sort((a, b) => LIVE.has(b.state) - LIVE.has(a.state) || b.number - a.number);
  const wanted = known.filter((job, i) => i < NAMED || job.id === query("job"));
  return wanted.map((job) => [job.id, `${job.name.slice(0, 40)} (${job.id.slice(0, 12)}, ${job.state})`]);
}

function logsView(incidents) {
  const tools = [];
  if (!incidents) {
    const stages = state.pipelines.flatMap((one) => one.stages.map((stage) => `${one.pipeline}.${stage.stage}`));
    tools.push(choice("job", "Job", "all jobs", jobChoices()),
      choice("source", "Stage", "all stages", [...stages, "broker", "sink"].map((name) => [name, name])),
      choice("host", "Host", "all hosts", state.hosts.map((host) => [host.host, host.host])),
      choice("level", "Level", "all levels", ["INFO", "WARNING", "ERROR"].map((name) => [name, `${name} and above`])),
      filter("words", "words in it"));
  }
  const shown = $("log");
  const version = JSON.stringify([linesOf, afterLine, lines.length, state.hosts.length > 1]);
  const made = shown && shown.dataset.version === version ? [] : lines.map(logLine);
  const box = el("div", { class: "log", id: "log", tabindex: "0", "aria-label": "Log", "data-version": version }, ...made);
  const follows = !shown || toEnd || shown.scrollHeight - shown.scrollTop - shown.clientHeight < 40;
  toEnd = false;
  if (follows) queueMicrotask(() => { if ($("log")) $("log").scrollTop = $("log").scrollHeight; });
  const none = incidents ? "Nothing has gone wrong since the broker began." : "No line matches.";
  return [tools.length ? el("div", { class: "tools" }, ...tools) : null, lines.length ? box : el("p", { class: "quiet", text: linesOf === wantedLines(incidents) ? none : "Asking…" })];
}

let linesOf = null; // the question that the lines answer
let toEnd = false; // whether the last line is to be shown, wherever the reader was
function wantedLines(incidents) {
  if (incidents) return "incidents=1";
  const names = ["job", "source", "host", "level", "words"];
  return new URLSearchParams(names.filter(query).map((name) => [name, query(name)])).toString();
}

async function readLines(incidents) {
  const wanted = wantedLines(incidents);
  const answer = await fetch(`/api/logs?after=${linesOf === wanted ? afterLine : 0}&${wanted}`);
  if (!answer.ok) return;
  const found = await answer.json();
  if (wanted !== wantedLines(view() === "incidents")) return; // another question has come meanwhile
  if (linesOf !== wanted) { lines = []; drawn = ""; toEnd = true; }
  linesOf = wanted;
  const fresh = found.filter((line) => !lines.length || line.number > lines.at(-1).number);
  if (fresh.length) { lines = [...lines, ...fresh].slice(-SHOWN); afterLine = fresh.at(-1).number; }
}

function otherLines() {
  if (view() !== "logs" && view() !== "incidents") return;
  readLines(view() === "incidents").then(() => draw(false)).catch(() => {});
}

// -- what buttons do -----------------------------------------------------------------------------
function confirmed(text) {
  $("question").textContent = text;
  const dialog = $("ask");
  dialog.returnValue = "";
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    $("yes").onclick = () => dialog.close("yes");
    $("no").onclick = () => dialog.close("no");
    dialog.showModal();
    $("no").focus();
  });
}

async function post(id, what) {
  const answer = await fetch(`/api/jobs/${id}/${what}`, { method: "POST", headers: { "X-Zturbo": "1" } });
  const found = await answer.json().catch(() => ({ error: `the page's process answered ${answer.status}` }));
  if (found.error) { say(found.error); return null; }
  return found;
}

async function act(job, what, text) {
  if (!(await confirmed(text))) return;
  const found = await post(job.id, what);
  if (found) say(found.text);
}

let saidUntil = 0;
function say(text) {
  $("said").textContent = text;
  $("said").hidden = false;
  saidUntil = clock() + 6;
}

// -- the loop ------------------------------------------------------------------------------------
const VIEWS = { pipeline: pipelineView, workers: workersView, jobs: jobsView, hosts: hostsView, logs: () => logsView(false), incidents: () => logsView(true) };

function draw(force) {
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.getAttribute("href") === `/${view()}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  });
  const error = state && (state.error || (state.trouble && `the broker waits: ${state.trouble}`));
  $("trouble").hidden = !error;
  $("trouble").textContent = error || "";
  if (!state || !state.pipelines) return;
  $("broker").textContent = state.broker;
  if ($("ask").open) return;
  const picture = `${location.href} ${view() === "incidents" ? afterLine : view() === "logs" ? `${afterLine} ${JSON.stringify([state.hosts.map((one) => one.host), jobChoices()])}` : JSON.stringify(state)}`;
  if (!force && picture === drawn && view() !== "workers") return;
  drawn = picture;
  const keep = window.getSelection();
  if (!force && keep && !keep.isCollapsed && $("main").contains(keep.anchorNode)) return;
  morph($("main"), (VIEWS[view()] || pipelineView)().filter(Boolean));
}

function noteLanes() {
  state.lanes.forEach((now, order) => {
    let lane = lanes.get(now.id);
    if (!lane) lanes.set(now.id, (lane = { id: now.id, name: now.name, host: now.host, past: [], order: 0 }));
    lane.order = stageOrder(now.name, order);
    lane.past.push([clock(), ...now.shares]);
  });
  for (const [id, lane] of lanes) {
    while (lane.past.length && lane.past[0][0] < clock() - KEEP) lane.past.shift();
    if (!lane.past.length) lanes.delete(id);
  }
}

function stageOrder(name, order) {
  let at = 0;
  for (const pipeline of state.pipelines) for (const stage of pipeline.stages) { at += 1; if (`${pipeline.pipeline}.${stage.stage}` === name) return at; }
  return 100000 + order;
}

async function look() {
  try {
    const answer = await fetch("/api/state");
    if (answer.ok) {
      state = await answer.json();
      if (state.lanes) noteLanes();
    } else state = { ...(state || {}), error: await answer.text() };
    if (state.jobs) await readOlder();
    if (view() === "logs" || view() === "incidents") await readLines(view() === "incidents");
  } catch {
    state = { ...(state || {}), error: "the page's process does not answer: is zturbo dashboard still running?" };
  }
  if (clock() > saidUntil) $("said").hidden = true;
  draw(false);
  followSpans().catch(() => {});
  if (cursor && (view() !== "workers" || !cursor.canvas.isConnected)) unpoint();
  setTimeout(look, document.hidden ? 4 * EVERY : EVERY);
}

async function begin() {
  const answer = await fetch("/api/history").catch(() => null);
  if (answer && answer.ok) {
    for (const lane of await answer.json()) lanes.set(lane.id, { ...lane, order: 99999, past: lane.past.map(([ago, ...shares]) => [clock() + ago, ...shares]) });
  }
  look();
}

for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => {
  const name = event.target.dataset.query;
  if (!name || query(name) === event.target.value) return;
  setQuery({ [name]: event.target.value });
  if (name === "span") { span = Number(event.target.value); edge = null; }
  otherLines();
  draw(true);
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button[data-zoom]");
  if (button) zoom(button.dataset.zoom);
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button[data-act]");
  const job = button && jobOf(button.dataset.job);
  if (job) ACTS[button.dataset.act](job);
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  otherLines();
  draw(true);
});
window.addEventListener("popstate", () => { otherLines(); draw(true); });
begin();
