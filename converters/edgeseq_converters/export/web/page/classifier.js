// A text classifier in the browser: tokenizer.json, model.tflite and web.json from one folder.
//
//   const classifier = await loadClassifier("./model/");
//   const { label, probabilities } = await classifier.classify("The battery died.");
//
// Where a text may have any number of labels, `labels` are those that it has.
//
// The bare module names are those of npm; a page without a bundler names their files in an import
// map, as index.html does.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { Tokenizer } from "@huggingface/tokenizers";

const PADDING_ID = -1;

async function fetchJson(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP status ${response.status}`);
  return response.json();
}

// Loads the files below `folder`; `runtime` is the folder of LiteRT.js's WebAssembly files.
export async function loadClassifier(folder = "./", runtime = `${folder}vendor/litert/wasm/`) {
  const base = new URL(folder, document.baseURI);
  const [settings, tokenizerJson, liteRt] = await Promise.all([
    fetchJson(new URL("web.json", base)),
    fetchJson(new URL("tokenizer.json", base)),
    loadLiteRt(new URL(runtime, document.baseURI).href),
  ]);
  const model = await loadAndCompile(new URL("model.tflite", base).href, { accelerator: "wasm" });
  return new Classifier(settings, new Tokenizer(tokenizerJson, {}), model, liteRt);
}

export class Classifier {
  constructor(settings, tokenizer, model, liteRt) {
    this.settings = settings;
    this.labels = settings.labels;
    this.liteRt = liteRt;
    this.tokenizer = tokenizer;
    this.signatures = settings.lengths.map((length) => ({
      length,
      runner: model.signatures[settings.signatures[length]],
    }));
  }

  // The token ids of a text, at most `max_tokens` with the special ones around it, and exactly as
  // many where the model was trained on padded texts.
  encode(text) {
    const { prefix_ids: prefix, suffix_ids: suffix, max_tokens: maxTokens } = this.settings;
    const all = this.known(this.tokenizer.encode(text, { add_special_tokens: false }).ids);
    const count = Math.min(all.length, maxTokens - prefix.length - suffix.length);
    const first = this.settings.padding.truncation === "pre" ? all.length - count : 0;
    const content = all.slice(first, first + count);
    const ids = this.pad([...prefix, ...content, ...suffix]);
    return {
      ids: ids.length > 0 ? ids : this.settings.empty_ids,
      truncated: content.length < all.length,
      unknownOnly: content.every((id) => id === this.settings.unknown_id),
    };
  }

  pad(ids) {
    const { side, pad_id: padId } = this.settings.padding;
    if (side === "none") return ids;
    const padding = new Array(Math.max(0, this.settings.max_tokens - ids.length)).fill(padId);
    return side === "pre" ? [...padding, ...ids] : [...ids, ...padding];
  }

  // The library has no model of whole words: it gives words outside of the vocabulary no id.
  known(ids) {
    const { unknown_id: unknown } = this.settings;
    return ids.map((id) => id ?? unknown).filter((id) => id !== null);
  }

  // The logits of token ids, from the shortest signature that they fit into.
  async logits(ids) {
    const { length, runner } = this.signatures.find((signature) => signature.length >= ids.length);
    const row = new Int32Array(length).fill(PADDING_ID);
    row.set(ids);
    const input = new Tensor(row, [1, length]);
    try {
      const [output] = await runner.run([input]);
      const logits = output.toTypedArray();
      output.delete();
      return logits;
    } finally {
      input.delete();
    }
  }

  // Runs each signature once: the first run of one packs its weights.
  async warmUp() {
    for (const { length } of this.signatures) {
      await this.logits(new Array(length).fill(this.settings.empty_ids[0]));
    }
  }

  // The class of logits; where a text may have any number of labels, 1 or 0 for each of them.
  decide(logits) {
    const { thresholds } = this.settings;
    if (!thresholds) return argmax(logits);
    return Array.from(logits, (value, index) => Number(value >= thresholds[index]));
  }

  async classify(text) {
    const logits = await this.logits(this.encode(text).ids);
    const decided = this.decide(logits);
    if (!Array.isArray(decided)) {
      return { label: this.labels[decided], probabilities: softmax(logits), logits };
    }
    const labels = this.labels.filter((_, index) => decided[index]);
    return { labels, probabilities: Array.from(logits, sigmoid), logits };
  }
}

export function argmax(values) {
  return values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
}

export function sigmoid(logit) {
  return 1 / (1 + Math.exp(-logit));
}

export function softmax(logits) {
  const highest = Math.max(...logits);
  const weights = Array.from(logits, (value) => Math.exp(value - highest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
