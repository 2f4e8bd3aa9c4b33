"""Compares MediaPipe's TextClassifier with a bundle on the bundle's whole test split.

    python benchmarks/studies/export_mediapipe.py BUNDLE...

Each bundle is exported and every test text is answered by MediaPipe's Python package and by the
bundle (`edgeseq predict`). Prints how many texts MediaPipe's tokenizer reads differently and why,
the largest difference of a probability on the others and on these, and both medians of a call.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import edgeseq as es
from edgeseq.formats.bundle import read_bundle
from edgeseq.stats.latency import median
from edgeseq.units import format_duration_ns
from edgeseq_converters.export.mediapipe.classify import classify_texts
from edgeseq_converters.export.mediapipe.target import compare_tokenizers
from edgeseq_converters.export.mediapipe.tokenizers import mediapipe_tokenizer


def study(path: Path) -> None:
    """Prints the figures of one bundle."""
    bundle = read_bundle(path)
    texts = [example.text for example in bundle.read_examples()]
    tokenizer = mediapipe_tokenizer(bundle.tokenizer_path.read_text("utf-8"), where=str(path))
    differences = compare_tokenizers(bundle, tokenizer, texts)
    with tempfile.TemporaryDirectory() as scratch:
        export = es.export(path, "mediapipe", out=Path(scratch) / "export")
        answer = classify_texts(export.path / "model.tflite", texts)
    predictions = es.load_bundle(path).predict(texts)
    expected = np.asarray([list(prediction.scores.values()) for prediction in predictions])
    scores = np.asarray(answer.scores)
    errors = np.abs(scores - expected).max(axis=1)
    is_different = np.isin(np.asarray(texts), differences.different)
    labels_differ = scores.argmax(axis=1) != expected.argmax(axis=1)
    others, those = ~is_different, is_different
    lines = (
        f"{bundle.manifest.name}, MediaPipe {answer.version}, {len(texts):,} test texts",
        f"  {differences.describe()}",
        f"  largest difference on the others {errors[others].max():.2g}",
        f"  labels that differ: {labels_differ[others].sum()} of the others, "
        f"{labels_differ[those].sum()} of those that are read differently",
        f"  median call in MediaPipe {format_duration_ns(median(answer.latency_ns))}",
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def main() -> None:
    """Prints the figures of each bundle named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    for path in parser.parse_args().bundles:
        study(path)


if __name__ == "__main__":
    main()
