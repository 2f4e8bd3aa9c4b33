"""Compares an LSTM in TensorFlow Lite Micro with its float model, on a whole test split.

    edgeseq train sentiment --arch lstm --set bidirectional=false --set pooling=last \\
        --set embedding_size=48 --set hidden_size=64 --set min_piece_count=20 \\
        --set pretrained_embeddings=false --out models/word
    python benchmarks/studies/export_micro.py models/word

The model is converted to `float32` and to `static_wi8_ai8` with the lowering `fused`; that bundle
is exported with `--for micro`, and the exported file answers every test text in the interpreter of
PyPI's `tflite-micro` and in LiteRT, token by token. Printed are the accuracy of all four, how many
logits are LiteRT's to the last digit, and the bytes of flash and arena.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import edgeseq as es
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_converters.export.golden import bundle_logits
from edgeseq_converters.export.micro.micro_runtime import (
    run_in_litert,
    run_micro,
    runtime_name,
)
from edgeseq_converters.models.arrays import FloatArray

RECIPES = {"float": ("float32", "loop"), "micro": ("static_wi8_ai8", "fused")}


def token_ids(bundle: BundleFiles) -> list[list[int]]:
    """The ids of the bundle's test texts."""
    tokenizer = TextTokenizer.of_bundle(bundle)
    return [tokenizer.token_ids(example.text) for example in bundle.read_examples()]


def accuracy(logits: FloatArray, bundle: BundleFiles) -> float:
    """The percentage of test texts with the right label."""
    labels = [bundle.labels[index] for index in logits.argmax(axis=1)]
    right = [a == example.label for a, example in zip(labels, bundle.read_examples(), strict=True)]
    return 100 * float(np.mean(right))


def main() -> int:
    """Prints the comparison; returns 1 when the microcontroller loses a point or more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="trained-model folder of an LSTM")
    parser.add_argument("--data", help="data set; default: the model's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeseq-") as folder:
        bundles = {}
        for name, (recipe, lowering) in RECIPES.items():
            out = Path(folder) / name
            es.convert(arguments.model, arguments.data, recipe=recipe, lowering=lowering, out=out)
            bundles[name] = read_bundle(out)
        exported = es.export(bundles["micro"].path, "micro", out=Path(folder) / "export")
        ids = token_ids(bundles["micro"])
        logits = {
            "float32 in LiteRT": bundle_logits(bundles["float"], ids),
            "the int8 bundle in LiteRT": bundle_logits(bundles["micro"], ids),
            "exported in LiteRT": run_in_litert(exported.path / "model.tflite", ids),
        }
        run = run_micro(exported.path / "model.tflite", ids)
        logits[f"exported in {runtime_name()}"] = run.outputs
        scores = {name: accuracy(values, bundles["micro"]) for name, values in logits.items()}
    settings = exported.manifest.settings
    steps = np.abs(run.outputs - logits["exported in LiteRT"]).max(axis=1) / settings["logit_step"]
    lines = [
        f"{len(ids):,} test texts, {sum(map(len, ids)):,} tokens",
        *(f"{name}: accuracy {score:.2f} %" for name, score in scores.items()),
        f"logits as LiteRT's: {(steps == 0).sum():,} texts to the last digit, "
        f"{(np.rint(steps) == 1).sum():,} by one step of int8, {(np.rint(steps) > 1).sum():,} more",
        f"flash: model {settings['model_bytes']:,} bytes, vocabulary "
        f"{settings['vocabulary_bytes']:,} bytes; arena {run.arena_bytes:,} bytes",
        *exported.manifest.notes,
    ]
    loss = scores["float32 in LiteRT"] - min(scores.values())
    sys.stdout.write("\n".join((*lines, f"lost at most {loss:.2f} points", "")))
    return 1 if loss >= 1 else 0


if __name__ == "__main__":
    sys.exit(main())
