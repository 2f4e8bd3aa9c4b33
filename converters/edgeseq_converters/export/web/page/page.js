// The page: answers what is typed, and measures this browser.

import { loadClassifier } from "./classifier.js";
import { goldenAnswers, loadGolden, loadMeasurement, measure, resultFile } from "./measure.js";

const byId = (id) => document.getElementById(id);
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SERVED_BY_BENCH = document.querySelector('meta[name="edgeseq-collects"]') !== null;

function milliseconds(value) {
  return value >= 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(2)} ms`;
}

function percentile(sorted, percent) {
  return sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)];
}

function fail(error) {
  const line = error instanceof Error ? error.message : String(error);
  const box = byId("failure");
  box.textContent = line;
  box.hidden = false;
  document.documentElement.dataset.state = "failed";
  if (SERVED_BY_BENCH) post("failure", line).catch(() => {});
}

async function post(name, content) {
  const body = typeof content === "string" ? content : JSON.stringify(content);
  const response = await fetch(name, { method: "POST", body });
  if (!response.ok) throw new Error(await response.text());
}

function showAnswer({ label, labels = [label], probabilities }, classifier, took) {
  const rows = probabilities.map((probability, index) => {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const bar = document.createElement("span");
    const value = document.createElement("span");
    name.className = "name";
    name.textContent = classifier.labels[index];
    bar.className = "bar";
    bar.style.setProperty("--share", probability);
    value.className = "value";
    value.textContent = PERCENT.format(probability);
    row.append(name, bar, value);
    row.classList.toggle("best", labels.includes(classifier.labels[index]));
    return row;
  });
  byId("answer").replaceChildren(...rows);
  byId("took").textContent = `answered in ${milliseconds(took)} on this device`;
}

function listen(classifier) {
  const input = byId("text");
  let latest = 0;
  async function answer() {
    const number = ++latest;
    const text = input.value;
    if (!text.trim()) {
      byId("answer").replaceChildren();
      byId("took").textContent = "";
      return;
    }
    const begin = performance.now();
    const answered = await classifier.classify(text);
    if (number === latest) showAnswer(answered, classifier, performance.now() - begin);
  }
  input.addEventListener("input", () => answer().catch(fail));
  input.disabled = false;
  return answer();
}

function showMeasured(upload, gold, classifier) {
  if (classifier.settings.thresholds) byId("score").textContent = "right label decisions";
  const [run] = upload.result.runs;
  const sorted = run.queries.total_ns.map((ns) => ns / 1e6).sort((a, b) => a - b);
  const correct = run.predictions.predicted.filter((label, index) => label === gold[index]).length;
  byId("p50").textContent = milliseconds(percentile(sorted, 50));
  byId("p95").textContent = milliseconds(percentile(sorted, 95));
  byId("accuracy").textContent = PERCENT.format(correct / gold.length);
  byId("queries").textContent = NUMBER.format(sorted.length);
  byId("clock").textContent = `The clock of this page has steps of ${upload.clock_step_ns / 1000} µs.`;
  byId("measured").hidden = false;
}

async function measureHere(classifier, measurement) {
  const button = byId("measure");
  const bar = byId("progress");
  document.documentElement.dataset.state = "measuring";
  button.disabled = true;
  byId("text").disabled = true;
  byId("failure").hidden = true;
  bar.hidden = false;
  let told = 0;
  // A phone that goes to sleep stops measuring; only secure pages may ask it not to.
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  const upload = await measure(classifier, measurement, async (share, count) => {
    bar.value = share;
    byId("status").textContent = `${NUMBER.format(count)} queries measured`;
    if (SERVED_BY_BENCH && performance.now() - told > 1000) {
      told = performance.now();
      await post("progress", { share, count }).catch(() => {});
    }
    // The bar is drawn between two rounds, never within one.
    await new Promise((resolve) => setTimeout(resolve, 0));
  });
  await awake?.release();
  bar.hidden = true;
  byId("text").disabled = false;
  showMeasured(upload, measurement.template.runs[0].predictions.gold, classifier);
  const file = JSON.stringify(resultFile(upload, measurement.golden), null, 1);
  byId("download").href = URL.createObjectURL(new Blob([file], { type: "application/json" }));
  byId("status").textContent = "Measured.";
  if (SERVED_BY_BENCH) {
    await post("result", upload);
    byId("status").textContent = "Measured. The result has been sent to edgeseq bench: you may close this page.";
  }
  button.textContent = "Measure again";
  button.disabled = false;
  window.edgeseqResult = file;
  document.documentElement.dataset.state = "measured";
}

async function start() {
  const begin = performance.now();
  const classifier = await loadClassifier("./");
  window.edgeseqClassifier = classifier;
  const { settings } = classifier;
  document.title = `${settings.bundle} · edgeseq`;
  byId("bundle").textContent = settings.bundle;
  byId("facts").textContent = `${settings.recipe} · ${(settings.model_size_bytes / 1e6).toFixed(1)} MB · up to ${settings.max_tokens} tokens`;
  await classifier.warmUp();
  await listen(classifier);
  byId("status").textContent = `Loaded in ${((performance.now() - begin) / 1000).toFixed(1)} s.`;
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("golden")) {
    await post("result", await goldenAnswers(classifier, await loadGolden()));
    return;
  }
  // An app's own copy of the folder may be without what measures.
  const measurement = await loadMeasurement().catch(() => null);
  if (measurement !== null) offerMeasuring(classifier, measurement);
  document.documentElement.dataset.state = "ready";
  if (measurement !== null && parameters.has("measure")) await measureHere(classifier, measurement);
}

function offerMeasuring(classifier, measurement) {
  byId("measurement").hidden = false;
  byId("examples").textContent = NUMBER.format(measurement.examples.length);
  byId("measure").addEventListener("click", () => measureHere(classifier, measurement).catch(fail));
}

start().catch(fail);
