"""The target `mediapipe`: one .tflite for MediaPipe Tasks' TextClassifier.

It runs on Android, iOS, in browsers and in Python, tokenizer and labels included. The bundle's
model is rewritten, not converted again: inputs as MediaPipe gives them, probabilities, metadata
(`edgeseq.formats.tflite_metadata`), and vocabulary and labels behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import RefusedError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.export_folder import MODEL, ExportFolder
from edgeseq.formats.export_target import ExportContents, ExportOptions, RuntimeOutputs
from edgeseq.formats.padding import TEXT_ALONE
from edgeseq.formats.storage import write_bytes
from edgeseq.formats.tflite_metadata import ENTRY, MetadataFile, TfliteMetadata
from edgeseq.runtime.mediapipe.classify import classify_texts
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_converters.export.golden import probabilities_golden
from edgeseq_converters.export.mediapipe.embedder import run_embedder
from edgeseq_converters.export.mediapipe.graph import (
    INPUTS,
    OUTPUT,
    adapt_to_bert,
    adapt_to_regex,
)
from edgeseq_converters.export.mediapipe.metadata_writer import encode_metadata, with_files
from edgeseq_converters.export.mediapipe.token_differences import compare_tokenizers
from edgeseq_converters.export.mediapipe.tokenizers import (
    VOCABULARY_FILE,
    BertTokenizer,
    RegexTokenizer,
    mediapipe_tokenizer,
)

LABELS_FILE = "labels.txt"
_HEADS = {
    "multilabel-classification": "its TextClassifier has one threshold for all labels, and scores "
    "that are softmax",
    "token-classification": "its TextClassifier has one answer per text, this model one per word",
    "language-modeling": "it has no task that predicts the next word",
}
_LOWERINGS = {
    "loop": "MediaPipe takes one graph, and a loop is a second one",
    "projected": "MediaPipe takes one graph, and a loop is a second one",
    "fused": "MediaPipe never resets the state that a fused LSTM keeps, so that its answer would "
    "depend on the texts before",
}


class MediaPipeTarget:
    """`edgeseq export --for mediapipe`."""

    def export(self, bundle: BundleFiles, folder: Path, options: ExportOptions) -> ExportContents:
        """Writes model.tflite (see `edgeseq.formats.export_target`)."""
        _check_supported(bundle)
        tokenizer_json = bundle.tokenizer_path.read_text(encoding="utf-8")
        tokenizer = mediapipe_tokenizer(tokenizer_json, where=str(bundle.tokenizer_path))
        is_regex = isinstance(tokenizer, RegexTokenizer)
        if is_regex and not _has_fixed_length(bundle):
            raise RefusedError(
                "MediaPipe pads the texts of a word-level tokenizer, which an open length cannot "
                "tell from words",
                where=bundle.path,
                fix="convert it with --length N (an LSTM also with --lowering unrolled)",
            )
        texts = (*(example.text for example in bundle.read_examples()), *options.texts)
        reference, max_tokens = TextTokenizer.of_bundle(bundle), bundle.manifest.max_tokens
        differences = compare_tokenizers(reference, tokenizer, texts, max_tokens)
        differences.check_few(bundle.path)
        golden_texts = [example.text for example in bundle.golden.examples]
        of_golden = compare_tokenizers(reference, tokenizer, golden_texts, max_tokens)
        if len(of_golden.different) == len(golden_texts):
            of_golden.check_few(bundle.path)
        differing = set(of_golden.different)
        examples = [it for it in bundle.golden.examples if it.text not in differing]
        write_bytes(folder / MODEL, _model(bundle, tokenizer))
        notes = (differences.describe(), *_length_notes(bundle))
        return ExportContents(
            golden=probabilities_golden(bundle, examples),
            readme=_readme(bundle, notes),
            notes=notes,
            settings={
                "tokenizer": tokenizer.metadata.kind,
                "max_tokens": bundle.manifest.max_tokens,
                "num_texts": differences.n_texts,
                "num_texts_tokenized_differently": len(differences.different),
            },
        )

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        """Runs MediaPipe's Python package (see `edgeseq.formats.export_target`)."""
        if export.golden.quantity == "embeddings":
            return run_embedder(export)
        texts = [example.text for example in export.golden.examples]
        answer = classify_texts(export.path / MODEL, texts)
        findings: tuple[str, ...] = ()
        if answer.names != export.manifest.labels:
            findings = (f"labels are {', '.join(answer.names)}",)
        return RuntimeOutputs(f"MediaPipe {answer.version}", answer.scores, findings)


TARGET = MediaPipeTarget()


def _check_supported(bundle: BundleFiles) -> None:
    manifest = bundle.manifest
    refusals = (
        (_HEADS.get(bundle.head), manifest.task, "export a text classifier"),
        (
            "it does not know the markers around mentions" if manifest.task == "coref" else None,
            manifest.task,
            "export a text classifier",
        ),
        (
            None
            if manifest.padding == TEXT_ALONE
            else "it pads and truncates texts in its own way, this model as it was trained",
            f"padding {manifest.padding.describe(manifest.max_tokens)}",
            "export it for the web or as a C library (--for web, --for native)",
        ),
        (
            _LOWERINGS.get(manifest.lowering),
            f"lowering {manifest.lowering}",
            "convert it with --lowering unrolled --length N",
        ),
        (
            "a label is not a line of text" if any(map(_has_line_end, bundle.labels)) else None,
            ", ".join(bundle.labels),
            "rename it in the data",
        ),
    )
    for reason, found, fix in refusals:
        if reason is not None:
            raise RefusedError(
                f"MediaPipe cannot run this bundle: {reason}",
                where=bundle.path,
                found=found,
                fix=fix,
            )


def _has_line_end(label: str) -> bool:
    return "\n" in label or "\r" in label


def _model(bundle: BundleFiles, tokenizer: BertTokenizer | RegexTokenizer) -> bytes:
    content = bundle.model_path.read_bytes()
    inputs: tuple[str, ...] = INPUTS
    if isinstance(tokenizer, BertTokenizer):
        max_tokens = bundle.manifest.max_tokens
        writer = adapt_to_bert(content, tokenizer.special, max_tokens=max_tokens)
    else:
        writer, inputs = adapt_to_regex(content), INPUTS[:1]
    metadata = TfliteMetadata(
        name=bundle.manifest.name,
        description=f"text classifier, {bundle.manifest.recipe}, exported by edgeseq",
        inputs=inputs,
        outputs=(OUTPUT,),
        tokenizer=tokenizer.metadata,
        files=(MetadataFile(LABELS_FILE, "labels"),),
    )
    writer.add_metadata(ENTRY, encode_metadata(metadata))
    labels = "".join(f"{label}\n" for label in bundle.labels)
    files = {VOCABULARY_FILE: tokenizer.vocabulary_text, LABELS_FILE: labels}
    return with_files(writer.pack(), files)


def _has_fixed_length(bundle: BundleFiles) -> bool:
    return bundle.manifest.signature.inputs[0].shape[-1] > 0


def _length_notes(bundle: BundleFiles) -> Sequence[str]:
    if _has_fixed_length(bundle):
        return (f"every text costs as much as one of {bundle.manifest.max_tokens} tokens",)
    return ()


def _readme(bundle: BundleFiles, notes: Sequence[str]) -> str:
    facts = "".join(f"- {note}.\n" for note in notes)
    return f"""# {bundle.manifest.name} for MediaPipe Tasks

`model.tflite` is a TextClassifier with its tokenizer and the labels
{", ".join(bundle.labels)}; its scores are probabilities.

{facts}
Android (Kotlin; `implementation("com.google.mediapipe:tasks-text:latest.release")`, the file in
`src/main/assets`):

```kotlin
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier

val classifier = TextClassifier.createFromFile(context, "model.tflite")
val categories = classifier.classify("arrived late").classificationResult()
    .classifications().first().categories()
categories.forEach {{ println("${{it.categoryName()}} ${{it.score()}}") }}
classifier.close()
```

Web (`npm install @mediapipe/tasks-text`):

```javascript
import {{ FilesetResolver, TextClassifier }} from "@mediapipe/tasks-text";

const wasm = await FilesetResolver.forTextTasks("node_modules/@mediapipe/tasks-text/wasm");
const classifier = await TextClassifier.createFromModelPath(wasm, "model.tflite");
console.log(classifier.classify("arrived late").classifications[0].categories);
```

Python (`pip install mediapipe`; Debian: `apt install libegl1 libgles2`):

```python
from mediapipe.tasks.python import text

with text.TextClassifier.create_from_model_path("model.tflite") as classifier:
    print(classifier.classify("arrived late").classifications[0].categories)
```

`golden.json` has texts with the probabilities that must come out;
`edgeseq export --check FOLDER` runs them in MediaPipe's Python package.
"""
