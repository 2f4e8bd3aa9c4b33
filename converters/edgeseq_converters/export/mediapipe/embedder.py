"""A sentence-embedding checkpoint as one .tflite for MediaPipe Tasks' TextEmbedder.

It has no bundle: embeddings have no labels and no score. The checkpoint is converted, and its file
gets the inputs and the metadata of a TextClassifier's, tokenizer included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import edgeseq
from edgeseq.errors import RefusedError
from edgeseq.formats.bundle_manifest import GoldenExample
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.export_folder import MODEL, ExportFolder, ExportManifest
from edgeseq.formats.export_target import ExportContents, RuntimeOutputs
from edgeseq.formats.storage import read_bytes, write_bytes
from edgeseq.formats.tflite_metadata import ENTRY, TfliteMetadata
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.mediapipe.classify import embed_texts
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_converters.convert.bare_file import BareFile, convert_to_file
from edgeseq_converters.convert.import_model import ImportedModel, load_model
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.export.golden import SAME_KERNELS, export_golden
from edgeseq_converters.export.mediapipe.graph import EMBEDDING, INPUTS, adapt_to_bert
from edgeseq_converters.export.mediapipe.metadata_writer import encode_metadata, with_files
from edgeseq_converters.export.mediapipe.token_differences import compare_tokenizers
from edgeseq_converters.export.mediapipe.tokenizers import (
    TOKENIZER_FIX,
    VOCABULARY_FILE,
    BertTokenizer,
    mediapipe_tokenizer,
)

TASK = "feature-extraction"
SENTENCES = (
    "The kettle is slow, but the tea is good.",
    "A lamp that never worked!",
    "Where can I return a pair of shoes?",
    "tent",
    "The shop was closed for repairs; nobody had put up a sign, and we waited for an hour.",
    "Two of the three batteries (AA, 1.5 V) were empty on arrival.",
    "it's fine. it's fine. " * 80,
)
"""What the golden embeddings are of, a text too long for the model included."""


class _Sentences(NamedTuple):
    """A checkpoint that embeds sentences, and MediaPipe's tokenizer for it."""

    imported: ImportedModel
    model: TrainedModel
    tokenizer: BertTokenizer

    @property
    def max_tokens(self) -> int:
        return self.model.manifest.max_tokens

    def reference(self) -> TextTokenizer:
        """The checkpoint's own tokenizer."""
        return TextTokenizer.from_json(self.model.tokenizer_json, self.max_tokens)


def export_embedder(
    source: Path, recipe: str, folder: Path, texts: Sequence[str]
) -> tuple[ExportManifest, ExportContents]:
    """Converts the checkpoint `source` and writes model.tflite to `folder`.

    `texts` are read by both tokenizers, to count those that differ. Raises `RefusedError` for a
    checkpoint without sentence embeddings or with another tokenizer, and what `load_model` and
    `convert_to_file` raise.
    """
    sentences = _read_sentences(source)
    reference = sentences.reference()
    token_ids = {text: tuple(reference.token_ids(text)) for text in SENTENCES}
    bound = sentences.tokenizer, (*SENTENCES, *texts), sentences.max_tokens
    differences = compare_tokenizers(reference, *bound)
    differences.check_few(source)
    examples = [
        GoldenExample(text, ids, ())
        for text, ids in token_ids.items()
        if text not in differences.different
    ]
    with temporary_folder() as scratch:
        bare = scratch / MODEL
        options = ConversionOptions(recipes=(recipe,))
        converted = convert_to_file(sentences.imported, bare, options)
        outputs = _embeddings(bare, converted, [example.token_ids for example in examples])
        write_bytes(folder / MODEL, _with_metadata(read_bytes(bare, error=RefusedError), sentences))
    default, builtin = outputs
    tolerance = max(SAME_KERNELS, 2 * float(np.abs(default - builtin).max()))
    notes = (differences.describe(),)
    contents = ExportContents(
        golden=export_golden("embeddings", examples, default, tolerance),
        readme=_readme(sentences, notes),
        notes=notes,
        settings={"size": converted.shape[-1], "max_tokens": sentences.max_tokens},
    )
    return _manifest(sentences.model, recipe), contents


def run_embedder(export: ExportFolder) -> RuntimeOutputs:
    """The golden texts in MediaPipe's Python package (see `edgeseq.formats.export_target`)."""
    answer = embed_texts(export.path / MODEL, [it.text for it in export.golden.examples])
    return RuntimeOutputs(f"MediaPipe {answer.version}", answer.scores)


def _read_sentences(source: Path) -> _Sentences:
    imported = load_model(source)
    model = imported.model
    bert = model.manifest.bert if isinstance(model, TrainedModel) else None
    if not isinstance(model, TrainedModel) or bert is None or bert.head != "feature_extraction":
        raise RefusedError(
            "MediaPipe's TextEmbedder needs an encoder that embeds sentences",
            where=source,
            found="another model",
            fix="name a checkpoint of sentence-transformers, or a bundle without --recipe",
        )
    tokenizer = mediapipe_tokenizer(model.tokenizer_json, where=str(source))
    if not isinstance(tokenizer, BertTokenizer) or tokenizer.special.num_dropped:
        raise RefusedError(
            "MediaPipe's TextEmbedder reads word pieces between [CLS] and [SEP]",
            where=source,
            found="a tokenizer of another form",
            fix=TOKENIZER_FIX,
        )
    return _Sentences(imported, model, tokenizer)


def _embeddings(
    path: Path, converted: BareFile, token_ids: Sequence[Sequence[int]]
) -> tuple[Any, Any]:
    """The embeddings [texts, size] with XNNPACK's kernels, and with LiteRT's own."""
    outputs = []
    for builtin_kernels in (False, True):
        file = ModelFile(
            path,
            path,
            signature_key="serving_default",
            output=converted.output,
            width=converted.shape[-1],
            per_token=False,
            builtin_kernels=builtin_kernels,
        )
        outputs.append(np.stack(run_model(file, token_ids, stage="embed the golden texts")))
    return outputs[0], outputs[1]


def _with_metadata(content: bytes, sentences: _Sentences) -> bytes:
    tokenizer = sentences.tokenizer
    writer = adapt_to_bert(
        content, tokenizer.special, max_tokens=sentences.max_tokens, output=EMBEDDING
    )
    metadata = TfliteMetadata(
        name=sentences.model.manifest.name,
        description="sentence embeddings, exported by edgeseq",
        inputs=INPUTS,
        outputs=(EMBEDDING,),
        tokenizer=tokenizer.metadata,
    )
    writer.add_metadata(ENTRY, encode_metadata(metadata))
    return with_files(writer.pack(), {VOCABULARY_FILE: tokenizer.vocabulary_text})


def _manifest(model: TrainedModel, recipe: str) -> ExportManifest:
    return ExportManifest(
        target="mediapipe",
        bundle=model.manifest.name,
        bundle_sha256="",
        task=TASK,
        recipe=recipe,
        lowering="encoder",
        labels=(),
        files={},
        edgeseq_version=edgeseq.__version__,
    )


def _readme(sentences: _Sentences, notes: Sequence[str]) -> str:
    facts = "".join(f"- {note}.\n" for note in notes)
    return f"""# {sentences.model.manifest.name} for MediaPipe Tasks

`model.tflite` is a TextEmbedder with its tokenizer. Texts of like meaning have a large cosine
similarity; a text of more than {sentences.max_tokens} tokens is cut.

{facts}
Android (Kotlin; `implementation("com.google.mediapipe:tasks-text:latest.release")`, the file in
`src/main/assets`):

```kotlin
import com.google.mediapipe.tasks.text.textembedder.TextEmbedder

val embedder = TextEmbedder.createFromFile(context, "model.tflite")
val embedding = embedder.embed("arrived late").embeddingResult().embeddings().first()
println(embedding.floatEmbedding().joinToString())
embedder.close()
```

Web (`npm install @mediapipe/tasks-text`):

```javascript
import {{ FilesetResolver, TextEmbedder }} from "@mediapipe/tasks-text";

const wasm = await FilesetResolver.forTextTasks("node_modules/@mediapipe/tasks-text/wasm");
const embedder = await TextEmbedder.createFromModelPath(wasm, "model.tflite");
console.log(embedder.embed("arrived late").embeddings[0].floatEmbedding);
```

Python (`pip install mediapipe`; Debian: `apt install libegl1 libgles2`):

```python
from mediapipe.tasks.python import text

with text.TextEmbedder.create_from_model_path("model.tflite") as embedder:
    print(embedder.embed("arrived late").embeddings[0].embedding)
```

`golden.json` has texts with the embeddings that must come out;
`edgeseq export --check FOLDER` runs them in MediaPipe's Python package.
"""
