"use strict";
const at = (name) => document.getElementById(name);
const PAUSE = 250, LONGER = 650;
let adapters = [], turn = 0, waiting = null, stopper = null;

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  at("theme").textContent = dark ? "Light" : "Dark";
}
theme(matchMedia("(prefers-color-scheme: dark)").matches);
at("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));

function say(sentence, bad) {
  at("status").textContent = sentence;
  at("status").className = bad ? "bad" : "";
}

async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  if (at("key").value) headers.authorization = "Bearer " + at("key").value;
  const given = { headers: new Headers(headers), signal, ...(body && { method: "POST", body: JSON.stringify(body) }) };
  const instead = (failed) => (error) => {
    if (error.name === "AbortError") throw error;
    return failed();
  };
  const answer = await fetch(path, given).catch(instead(() => {
    throw new Error("The server does not answer.");
  }));
  const found = await answer.json().catch(instead(() => null));  // a proxy between may answer by a page of its own
  if (answer.status === 401) at("locked").hidden = false;
  if (!answer.ok || !found) throw new Error(found?.error || "No answer of the server's came: status " + answer.status);
  return found;
}

const percent = (share) => share === 0 || share === 1 ? 100 * share + " %" : share < 1 && share > 0.99995 ? ">99.99 %" : share > 0 && share < 0.00005 ? "<0.01 %"
  : (100 * share).toFixed(share >= 0.9995 || share < 0.0995 ? 2 : 1) + " %";
const chosen = () => adapters.find((each) => each.name === at("adapter").value);

async function list() {
  try {
    adapters = (await ask("v1/adapters")).adapters;
  } catch (error) {
    at("about").textContent = error.message;
    return;
  }
  const before = at("adapter").value;
  at("adapter").replaceChildren(...adapters.map((each) => new Option(each.name, each.name)));
  if (adapters.some((each) => each.name === before)) at("adapter").value = before;
  at("about").textContent = adapters.length === 0 ? "No adapter is served."
    : adapters.length === 1 ? "One adapter is served. It classifies while you type."
    : adapters.length + " adapters are served. The chosen one classifies while you type.";
  describe();
  soon();
}

async function isServed() {
  try {
    return (await ask("v1/adapters")).adapters.some((each) => each.name === at("adapter").value);
  } catch {
    return true;
  }
}

function describe() {
  const one = chosen();
  at("facts").textContent = one ? facts(one) : "";
}

function facts(one) {
  const span = one.test_interval ? " (95 % interval " + one.test_interval.map(percent).join(" to ") + ")" : "";
  const score = one.test_accuracy === null ? ""
    : ", accuracy " + percent(one.test_accuracy) + span + " on " + one.test_rows.toLocaleString("en") + " test rows";
  const told = one.class_shares === null ? ""
    : "; its answers are for the class shares that the server was told" + (score && ", its accuracy is not");
  return one.labels.length + " labels, encoder " + one.backbone + ", "
    + one.trainable_parameters.toLocaleString("en") + " trained parameters"
    + (one.is_blend ? " and TF-IDF beside them" : "") + score + told;
}

function bars(found) {
  at("label").textContent = found.label;
  at("confidence").textContent = percent(found.confidence);
  const ordered = Object.entries(found.probabilities).sort((one, other) => other[1] - one[1]);
  at("bars").replaceChildren(...ordered.map(([label, share]) => {
    const line = document.createElement("li"), name = document.createElement("span");
    const track = document.createElement("span"), fill = document.createElement("i"), value = document.createElement("b");
    name.textContent = label;
    track.className = "track";
    fill.style.width = 100 * share + "%";
    value.textContent = percent(share);
    track.append(fill);
    line.append(name, track, value);
    return line;
  }));
}

function marks(text, found) {
  const signs = Array.from(text), pieces = [];
  const largest = Math.max(0, ...found.words.map((word) => Math.abs(word.weight))), most = Math.max(0.02, largest);
  let place = 0;
  for (const word of found.words) {
    pieces.push(signs.slice(place, word.start).join(""));
    const mark = document.createElement("mark"), share = Math.abs(word.weight) / most;
    mark.textContent = signs.slice(word.start, word.stop).join("");
    mark.className = word.weight >= 0 ? "for" : "against";
    mark.style.setProperty("--share", (46 * share).toFixed(1) + "%");
    mark.style.setProperty("--line-share", (share < 0.08 ? 0 : 100 * share).toFixed(1) + "%");
    mark.title = "without it: " + percent(Math.min(1, Math.max(0, found.confidence - word.weight)));
    pieces.push(mark);
    place = word.stop;
  }
  pieces.push(signs.slice(place).join(""));
  at("words").replaceChildren(...pieces);
  at("method").textContent = found.words.length === 0
    ? "No word was left out: nothing would be left to read, or this server computes too few texts at once."
    : "Occlusion: " + parts(text, found.words) + " left out in turn, and the stronger a mark is, the more the probability of “"
      + found.label + "” changes (" + (100 * largest).toFixed(1) + " points at most).";
}

function parts(text, words) {
  const all = text.trim().split(/\s+/).length;
  const touch = words.some((word, index) => index > 0 && word.start === words[index - 1].stop);
  if (all < 2 || touch) return words.some((word) => word.stop - word.start > 1) ? "one or several characters are" : "each character is";
  const signs = Array.from(text), several = words.some((word) => /\s/.test(signs.slice(word.start, word.stop).join("")));
  return several ? "several words together are" : "each word is";
}

async function classify() {
  const text = at("text").value, own = ++turn;
  if (stopper) stopper.abort();
  const length = Array.from(text).length;
  at("length").textContent = text ? length.toLocaleString("en") + (length === 1 ? " character" : " characters") : "";
  if (!text.trim() || !chosen()) {
    at("results").hidden = true;
    say("");
    return;
  }
  stopper = new AbortController();
  at("results").classList.add("waiting");
  let answered = false;
  try {
    const began = performance.now();
    const found = await ask("v1/classify", { adapter: chosen().name, texts: [text] }, stopper.signal);
    if (own !== turn) return;
    answered = true;
    bars(found.results[0]);
    at("results").hidden = false;
    at("results").classList.remove("waiting");
    say("Answered in " + Math.round(performance.now() - began) + " ms");
    at("words").textContent = text;
    at("method").textContent = "Words are being left out in turn.";
    await new Promise((done) => setTimeout(done, LONGER));
    if (own !== turn) return;
    const why = await ask("v1/explain", { adapter: chosen().name, text }, stopper.signal);
    if (own === turn) marks(text, why);
  } catch (error) {
    if (own !== turn || error.name === "AbortError") return;
    at("results").classList.remove("waiting");
    at("results").hidden = !answered;
    at("method").textContent = "";
    say(error.message, true);
    if (!answered && !(await isServed())) list();
  }
}

function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(classify, PAUSE);
}

at("text").addEventListener("input", soon);
at("adapter").addEventListener("change", () => { describe(); classify(); });
at("key").addEventListener("change", list);
at("form").addEventListener("submit", (event) => event.preventDefault());
list();
