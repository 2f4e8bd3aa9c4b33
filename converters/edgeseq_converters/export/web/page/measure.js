// Runs the bundle's test examples in this browser and gives a result that `edgeseq report` reads.
//
// measure/result.json is the result without observations, in edgeseq's own format; what is
// observed here is filled in. Times are performance.now()'s, as whole nanoseconds.

const NS_PER_MS = 1e6;
const LONGEST_NAME = 200;

async function fetchText(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP status ${response.status}`);
  return response.text();
}

export async function loadMeasurement() {
  const [template, order, lines, golden] = await Promise.all([
    fetchText("measure/result.json").then(JSON.parse),
    fetchText("measure/order.json").then(JSON.parse),
    fetchText("measure/examples.jsonl"),
    loadGolden(),
  ]);
  const examples = lines.split("\n").filter((line) => line).map((line) => JSON.parse(line));
  return { template, order, examples, golden };
}

export async function loadGolden() {
  return JSON.parse(await fetchText("golden.json"));
}

// The tokens and logits of the texts in golden.json.
export async function goldenAnswers(classifier, { examples }) {
  const answers = [];
  for (const { text } of examples) {
    const { ids } = classifier.encode(text);
    answers.push({ token_ids: ids, logits: Array.from(await classifier.logits(ids)) });
  }
  return answers;
}

// The smallest step of the clock that this page may read, in nanoseconds.
function clockStepNs() {
  let smallest = Infinity;
  for (let sample = 0; sample < 20; sample++) {
    const begin = performance.now();
    let end = begin;
    while (end === begin) end = performance.now();
    smallest = Math.min(smallest, end - begin);
  }
  return Math.max(1, Math.round(smallest * NS_PER_MS));
}

function elapsedNs(begin, end) {
  return Math.max(0, Math.round((end - begin) * NS_PER_MS));
}

class Columns {
  constructor() {
    this.example = [];
    this.round = [];
    this.tokens = [];
    this.tokenize_ns = [];
    this.inference_ns = [];
    this.decode_ns = [];
    this.total_ns = [];
  }
}

// One query, timed as an app makes it: text to tokens, inference, logits to a class.
async function query(classifier, text, stepNs) {
  const begin = performance.now();
  const encoded = classifier.encode(text);
  const tokenized = performance.now();
  const logits = await classifier.logits(encoded.ids);
  const inferred = performance.now();
  const predicted = classifier.decide(logits);
  const end = performance.now();
  const parts = [elapsedNs(begin, tokenized), elapsedNs(tokenized, inferred), elapsedNs(inferred, end)];
  const sum = parts[0] + parts[1] + parts[2];
  // Rounded one by one, the parts may be a nanosecond longer than the whole.
  return { encoded, logits, predicted, parts, total: Math.max(sum, elapsedNs(begin, end), stepNs) };
}

function addQuery(columns, example, round, done) {
  columns.example.push(example);
  columns.round.push(round);
  columns.tokens.push(done.encoded.ids.length);
  columns.tokenize_ns.push(done.parts[0]);
  columns.inference_ns.push(done.parts[1]);
  columns.decode_ns.push(done.parts[2]);
  columns.total_ns.push(done.total);
}

// Measures; `onProgress(share, count)`, with the share done and the queries so far, is called between
// rounds and may give a promise.
export async function measure(classifier, measurement, onProgress = () => {}) {
  const { template, order, examples } = measurement;
  const { rounds, min_queries: minQueries, max_queries: maxQueries, min_duration_s: minS } =
    template.effective;
  const stepNs = clockStepNs();
  const golden = await goldenAnswers(classifier, measurement.golden);
  const warmup = new Columns();
  for (const example of order.slice(0, Math.ceil(order.length / rounds))) {
    addQuery(warmup, example, 0, await query(classifier, examples[example].text, stepNs));
  }

  const queries = new Columns();
  const answers = new Array(examples.length);
  const vary = new Set();
  const begin = performance.now();
  for (let round = 0; ; round++) {
    for (let index = round % rounds; index < order.length; index += rounds) {
      const example = order[index];
      const done = await query(classifier, examples[example].text, stepNs);
      addQuery(queries, example, round, done);
      const previous = answers[example];
      if (previous && String(previous.predicted) !== String(done.predicted)) vary.add(example);
      answers[example] ??= {
        predicted: done.predicted,
        truncated: done.encoded.truncated,
        unknownOnly: done.encoded.unknownOnly,
        token_ids: done.encoded.ids,
        logits: Array.from(done.logits),
      };
    }
    const seconds = (performance.now() - begin) / 1000;
    const count = queries.total_ns.length;
    const passed = round + 1 >= rounds;
    const share = Math.min((round + 1) / rounds, count / minQueries, minS ? seconds / minS : 1, 1);
    await onProgress(share, count);
    if (passed && ((count >= minQueries && seconds >= minS) || count >= maxQueries)) break;
  }
  return result(classifier, measurement, { stepNs, warmup, queries, answers, vary, golden });
}

function result(classifier, measurement, observed) {
  const { template } = measurement;
  const { stepNs, warmup, queries, answers, vary, golden } = observed;
  const count = (name) => answers.filter((answer) => answer[name]).length;
  const heapBytes = classifier.liteRt.liteRtWasm.HEAPU8.length;
  const [run] = template.runs;
  const filled = {
    ...template,
    created_utc: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
    device: device(),
    runs: [
      {
        ...run,
        warmup,
        queries,
        predictions: {
          ...run.predictions,
          predicted: answers.flatMap((answer) => answer.predicted),
          truncated: count("truncated"),
          unknown_only: count("unknownOnly"),
        },
      },
    ],
  };
  return {
    result: filled,
    clock_step_ns: stepNs,
    heap_bytes: heapBytes,
    cross_origin_isolated: self.crossOriginIsolated === true,
    varying: vary.size,
    golden,
    answers: answers.map(({ token_ids, logits }) => ({ token_ids, logits })),
  };
}

// What a page may know of its machine. Browsers hide the processor's name.
function device() {
  const agent = navigator.userAgentData;
  const brands = (agent?.brands ?? []).filter(({ brand }) => !/not.?a.?brand/i.test(brand));
  const brand = brands.map(({ brand, version }) => `${brand} ${version}`).at(-1);
  const browser = brand ?? browserName(navigator.userAgent);
  const system = agent?.platform || systemName(navigator.userAgent);
  return {
    name: `${browser} on ${system}`.slice(0, LONGEST_NAME),
    machine: "wasm32",
    cpu_model: "hidden by the browser",
    cpu_features: [],
    cores: navigator.hardwareConcurrency || 1,
    memory_bytes: Math.round((navigator.deviceMemory ?? 0) * 2 ** 30),
    kernel: "unknown",
    os: navigator.userAgent.slice(0, LONGEST_NAME),
    emulated: false,
  };
}

function browserName(userAgent) {
  const known = /(Firefox|FxiOS|Edg|CriOS|Chrome|Version)\/(\d+)/.exec(userAgent);
  const names = { Version: "Safari", FxiOS: "Firefox", CriOS: "Chrome", Edg: "Edge" };
  return known ? `${names[known[1]] ?? known[1]} ${known[2]}` : "a browser";
}

function systemName(userAgent) {
  return /Android|iPhone|iPad|Mac OS X|Windows|Linux/.exec(userAgent)?.[0] ?? "an unknown system";
}

// The result file as `edgeseq report` reads it: with what a reader must know of its numbers.
export function resultFile(upload, golden) {
  const step = `times are read from a browser's clock with steps of ${upload.clock_step_ns / 1000} µs`;
  const heap =
    "a page cannot read its process's memory; the runtime's WebAssembly heap grew to " +
    `${(upload.heap_bytes / 1e6).toFixed(1)} MB`;
  const findings = [
    { code: "browser-clock", severity: "note", message: step },
    { code: "browser-memory", severity: "note", message: heap },
  ];
  const texts = golden.examples.length;
  const wrong = golden.examples.filter((example, number) => {
    const { token_ids: ids, logits } = upload.golden[number];
    const sameIds = String(ids) === String(example.token_ids);
    const near = example.output.every((value, at) => Math.abs(value - logits[at]) <= golden.tolerance);
    return !(sameIds && near);
  }).length;
  if (wrong > 0) {
    const message = `${wrong} of ${texts} golden texts get other tokens or logits here than where they were exported`;
    findings.push({ code: "golden-differs", severity: "invalid", message });
  }
  return { ...upload.result, findings };
}
