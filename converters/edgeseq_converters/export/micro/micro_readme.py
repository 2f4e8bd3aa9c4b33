"""The README of an export for microcontrollers."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq.formats.bundle import BundleFiles
from edgeseq_converters.export.micro.c_sources import MicroSources

_CALL = """\
```cpp
#include "classifier.h"
{include}
if (!ClassifierBegin()) return;  // the arena is too small, or the model is damaged
{tokens}
const float* logits = Classify(ids, count);
if (logits != nullptr) Show(kLabels[LargestLogit(logits)]);
```"""
_TOKENS = """\
int32_t ids[MAX_TOKENS];
const size_t count = tokenize(text, strlen(text), ids);"""


def readme(bundle: BundleFiles, sources: MicroSources, notes: Sequence[str]) -> str:
    """What the folder is, what it needs of a device, and how an app calls it."""
    has_tokenizer = sources.vocabulary is not None
    call = _CALL.format(
        include='#include "tokenizer.h"\n#include "vocabulary.h"\n' if has_tokenizer else "",
        tokens=_TOKENS if has_tokenizer else "// ids [count]: the text's token ids",
    )
    arena = "not measured"
    if sources.arena_bytes is not None:
        arena = f"{sources.arena_bytes:,} bytes, measured on a computer of 64 bits"
    vocabulary = (
        f"{sources.vocabulary.size_bytes:,} bytes, `vocabulary.c`" if sources.vocabulary else "none"
    )
    compiled = "classifier.cc model_data.cc"
    if has_tokenizer:
        compiled += " tokenizer.c vocabulary.c"
    return "\n".join(
        (
            f"# {bundle.manifest.name} for TensorFlow Lite Micro",
            "",
            "An LSTM in int8 that reads a text token by token; `Classify` hands its state on.",
            "",
            "| needs | |",
            "|---|---|",
            f"| flash for the model | {sources.model.size_bytes:,} bytes, `model_data.cc` |",
            f"| flash for the vocabulary | {vocabulary} |",
            f"| memory (arena) | {arena} |",
            f"| memory (states) | {sources.model.state_bytes:,} bytes |",
            f"| operators | {', '.join(sources.model.operators)} |",
            "",
            "## Use",
            "",
            "Add TensorFlow Lite Micro (https://github.com/tensorflow/tflite-micro) to the "
            f"project, compile `{compiled}`, and call:",
            "",
            call,
            "",
            "The logits after the last token are the text's. `Classify` begins with a fresh state.",
            "",
            "## Check",
            "",
            "`example_main.cc` classifies the golden texts and fails where a logit differs by more "
            "than the tolerance in golden.json. On a computer, `edgeseq export --check` with the "
            "path of this folder runs `model.tflite` in the interpreter of PyPI's `tflite-micro`.",
            "",
            "LiteRT gives the same logits: input 0 is the token id, the states follow.",
            "",
            "## Known",
            "",
            *(f"- {note}" for note in notes),
            "",
        )
    )
