"""Compares MediaPipe's TextClassifier with a bundle on the bundle's whole test split.

    python benchmarks/studies/export_mediapipe.py [--browser] BUNDLE...
    python benchmarks/studies/export_mediapipe.py --embed all-MiniLM-L6-v2 --data customer-feedback

Each bundle is exported and every test text is answered by MediaPipe's Python package and by the
bundle (`edgeseq predict`). Prints how many texts MediaPipe's tokenizer reads differently and why,
the largest difference of a probability on the others, how many labels differ, and the median of a
call. With `--browser` the same file also answers in Chromium, by npm's @mediapipe/tasks-text.
With `--embed` a checkpoint embeds the test texts of `--data`, in TextEmbedder and in LiteRT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

import edgeseq as es
from edgeseq.formats.archives import extract_members
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.drafts import temporary_folder
from edgeseq.runtime.browser.collect import wait_for_result
from edgeseq.runtime.browser.headless import headless_browser
from edgeseq.runtime.browser.page_server import serve_page
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq.runtime.mediapipe.classify import classify_texts, embed_texts
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.stats.latency import median
from edgeseq.units import format_duration_ns
from edgeseq_converters.export.mediapipe.token_differences import compare_tokenizers
from edgeseq_converters.export.mediapipe.tokenizers import mediapipe_tokenizer
from edgeseq_converters.export.web.npm_package import NpmPackage, fetch_npm_package
from edgeseq_converters.models.huggingface.checkpoint import read_model

TASKS_TEXT = NpmPackage(
    "@mediapipe/tasks-text",
    "1.0.1",
    "03cqJx+BZ+WpmuDqq+4Z8Bn7BdJyEPxU7Q1iuczjrh3YGiaAD2VMYf5JCLd+vQy7nNrlOOvUQlTnX0nYRpAUOA==",
)
_FILES = {
    "package/text_bundle.mjs": "text_bundle.mjs",
    "package/wasm/text_wasm_internal.js": "wasm/text_wasm_internal.js",
    "package/wasm/text_wasm_internal.wasm": "wasm/text_wasm_internal.wasm",
}
_PAGE = """<!doctype html><script type="module">
import { FilesetResolver, TextClassifier } from "./text_bundle.mjs";
const send = (path, body) => fetch(path, { method: "POST", body });
try {
  const wasm = await FilesetResolver.forTextTasks("wasm");
  const classifier = await TextClassifier.createFromModelPath(wasm, "model.tflite");
  const texts = await (await fetch("texts.json")).json();
  const scores = texts.map((text) => classifier.classify(text).classifications[0].categories
    .toSorted((one, other) => one.index - other.index).map((category) => category.score));
  await send("result", JSON.stringify(scores));
} catch (error) {
  await send("failure", String(error));
}
</script>"""
_BROWSER_TIMEOUT_S = 300.0


def classify_in_browser(model: Path, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Scores [texts, labels] of an exported model in Chromium.

    Raises `DeviceError` where there is no Chromium or the page fails, and `FetchError` where npm's
    index cannot be reached.
    """
    archive = fetch_npm_package(TASKS_TEXT)
    with temporary_folder() as folder:
        extract_members(archive, _FILES, folder)
        (folder / "model.tflite").symlink_to(model.absolute())
        (folder / "index.html").write_text(_PAGE, encoding="utf-8")
        replaced = {"texts.json": msgspec.json.encode(list(texts))}
        names = ("index.html", "model.tflite", *_FILES.values())
        with (
            serve_page(
                folder, names, replaced=replaced, read_result=_read_scores, limit_bytes=1 << 24
            ) as server,
            headless_browser(server.address) as browser,
        ):
            return wait_for_result(server, first_s=_BROWSER_TIMEOUT_S, browser=browser)


def _read_scores(content: bytes) -> npt.NDArray[np.float64]:
    return np.asarray(msgspec.json.decode(content))


def largest(errors: npt.NDArray[np.float64]) -> str:
    """The largest error of the texts, in words for an empty list."""
    return f"{errors.max():.2g}" if errors.size else "– (there are none)"


def study(path: Path, *, browser: bool) -> None:
    """Prints the figures of one bundle."""
    bundle = read_bundle(path)
    texts = [example.text for example in bundle.read_examples()]
    tokenizer = mediapipe_tokenizer(bundle.tokenizer_path.read_text("utf-8"), where=str(path))
    reference, max_tokens = TextTokenizer.of_bundle(bundle), bundle.manifest.max_tokens
    differences = compare_tokenizers(reference, tokenizer, texts, max_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        export = es.export(path, "mediapipe", out=Path(scratch) / "export")
        model = export.path / "model.tflite"
        answer = classify_texts(model, texts)
        in_browser = classify_in_browser(model, texts) if browser else None
    predictions = es.load_bundle(path).predict(texts)
    expected = np.asarray([list(prediction.scores.values()) for prediction in predictions])
    scores = np.asarray(answer.scores)
    errors = np.abs(scores - expected).max(axis=1)
    is_different = np.isin(np.asarray(texts), differences.different)
    labels_differ = scores.argmax(axis=1) != expected.argmax(axis=1)
    others, those = ~is_different, is_different
    lines: tuple[str, ...] = (
        f"{bundle.manifest.name}, MediaPipe {answer.version}, {len(texts):,} test texts",
        f"  {differences.describe()}",
        f"  largest difference on the others {largest(errors[others])}",
        f"  labels that differ: {labels_differ[others].sum()} of the others, "
        f"{labels_differ[those].sum()} of those that are read differently",
        f"  median call in MediaPipe {format_duration_ns(median(answer.latency_ns))}",
    )
    if in_browser is not None:
        error = largest(np.abs(in_browser - expected).max(axis=1)[others])
        labels = (in_browser.argmax(axis=1) != expected.argmax(axis=1))[others].sum()
        lines += (f"  in Chromium: largest difference {error}, {labels} labels differ",)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def study_embedder(checkpoint: str, data: str, recipe: str) -> None:
    """Prints how close TextEmbedder's embeddings are to those of the converted file."""
    texts = [example.text for example in es.load_dataset(data).test]
    model = read_model(checkpoint)
    max_tokens = model.manifest.max_tokens
    reference = TextTokenizer.from_json(model.tokenizer_json, max_tokens)
    tokenizer = mediapipe_tokenizer(model.tokenizer_json, where=checkpoint)
    differences = compare_tokenizers(reference, tokenizer, texts, max_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch) / "bare.tflite"
        es.convert_to_tflite(checkpoint, bare, recipe=recipe, progress=None)
        original = TfliteModel(bare, signature=SignatureNames(output="embedding"))
        rows = []
        for token_ids in map(reference.token_ids, texts):
            original.allocate(len(token_ids))
            rows.append(original.infer(token_ids).reshape(-1))
        expected = np.stack(rows)
        export = es.export(checkpoint, "mediapipe", recipe=recipe, out=Path(scratch) / "export")
        answer = embed_texts(export.path / "model.tflite", texts)
    errors = np.abs(np.asarray(answer.scores) - expected).max(axis=1)
    others = ~np.isin(np.asarray(texts), differences.different)
    sys.stdout.write(
        f"{checkpoint}, {recipe}, MediaPipe {answer.version}, {len(texts):,} test texts\n"
        f"  {differences.describe()}\n"
        f"  largest difference of an embedding on the others {largest(errors[others])}\n"
    )


def main() -> None:
    """Prints the figures of each bundle named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--embed", help="checkpoint that embeds sentences")
    parser.add_argument("--data", default="customer-feedback")
    parser.add_argument("--recipe", default="float32")
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    if arguments.embed:
        study_embedder(arguments.embed, arguments.data, arguments.recipe)
    for path in arguments.bundles:
        study(path, browser=arguments.browser)


if __name__ == "__main__":
    main()
