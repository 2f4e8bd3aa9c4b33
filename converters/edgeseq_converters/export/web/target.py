"""The export target `web`: a folder that any web server can serve, and that works offline.

EXPORT/index.html, page.js, style.css    answers what is typed, and measures
EXPORT/classifier.js                     the module that an app takes
EXPORT/model.tflite                      a signature per length over shared weights
EXPORT/tokenizer.json, web.json          what classifier.js needs besides
EXPORT/vendor/                           LiteRT.js and tokenizers, as their authors publish them
EXPORT/measure/                          test examples and the result to fill in
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edgeseq.errors import InputError, RefusedError
from edgeseq.formats.browser_result import browser_settings, example_order, result_template
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.export_folder import MODEL, ExportFolder, ExportGolden
from edgeseq.formats.export_target import ExportContents, ExportOptions, RuntimeOutputs
from edgeseq.formats.padding import Padding
from edgeseq.formats.storage import sha256_file, write_bytes, write_json
from edgeseq.runtime.browser.collect import run_golden_texts
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.head import TEXT_HEADS
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq_converters.convert.lower.fixed_lengths import fix_lengths, signature_key
from edgeseq_converters.export.fixed_length_model import FixedLengthModel
from edgeseq_converters.export.golden import bundle_logits, export_golden
from edgeseq_converters.export.special_tokens import ids_around_text
from edgeseq_converters.export.web.libraries import RUNTIME, library_titles, write_libraries

_PAGE = Path(__file__).parent / "page"
_SHORTEST = 16
_FLOAT_RECIPES = ("float32", "float16")
# Float kernels differ in the order of their sums.
FLOAT_TOLERANCE = 1e-5


class WebSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """`web.json`: what classifier.js needs besides the tokenizer and the model.

    A text is its tokens between `prefix_ids` and `suffix_ids`, at most `max_tokens` in all;
    `empty_ids` are those of a text without any; `padding` is the bundle's. `signatures` names the
    signature of each of `lengths`. `thresholds` are the logits from which on a text has each of the
    labels, where it may have any number of them.
    """

    bundle: str
    recipe: str
    labels: tuple[str, ...]
    lengths: tuple[int, ...]
    signatures: dict[str, str]
    max_tokens: int
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    empty_ids: tuple[int, ...]
    padding: Padding
    unknown_id: int | None
    model_size_bytes: int
    thresholds: tuple[float, ...] = ()


class WebTarget:
    """`edgeseq export --for web`."""

    def export(self, bundle: BundleFiles, folder: Path, options: ExportOptions) -> ExportContents:
        """Writes the page, the model and what they need; see `ExportTarget`."""
        _check(bundle)
        lengths = choose_lengths(bundle, options.lengths)
        model_path = folder / MODEL
        write_bytes(model_path, _model(bundle, lengths))
        padding = bundle.manifest.padding
        tokenizer = TextTokenizer.from_file(str(bundle.tokenizer_path), lengths[-1], padding)
        settings = _settings(bundle, tokenizer, lengths, model_path.stat().st_size)
        write_json(folder / "web.json", settings)
        shutil.copyfile(bundle.tokenizer_path, folder / "tokenizer.json")
        for path in _PAGE.iterdir():
            shutil.copyfile(path, folder / path.name)
        write_libraries(folder)
        _write_measurement(bundle, folder, settings)
        return ExportContents(
            golden=_golden(bundle, model_path, tokenizer, settings),
            readme=_readme(bundle, lengths),
            notes=_notes(bundle, tokenizer),
            settings={"lengths": list(lengths), "libraries": list(library_titles())},
        )

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        """Runs the golden texts in Chromium without a window."""
        answers = run_golden_texts(export.path, tuple(export.manifest.files))
        findings = [
            f"text {number}: its tokens are not those of golden.json"
            for number, (answer, example) in enumerate(
                zip(answers, export.golden.examples, strict=False), start=1
            )
            if answer.token_ids != example.token_ids
        ]
        outputs = tuple(answer.logits for answer in answers)
        return RuntimeOutputs(f"{RUNTIME.package} {RUNTIME.version}", outputs, tuple(findings))


TARGET = WebTarget()


def choose_lengths(bundle: BundleFiles, lengths: Sequence[int]) -> tuple[int, ...]:
    """The lengths in tokens, in order: `lengths`, or by default doubled from 16 to the bundle's
    longest input; a bundle of a fixed length, and one whose texts are padded, has that one alone.

    Raises `InputError` for lengths that the bundle does not have.
    """
    longest = bundle.manifest.max_tokens
    fixed = bundle.manifest.signature.inputs[0].shape[1]
    if bundle.manifest.padding.is_padded:
        fixed = longest
    if fixed > 0:
        if lengths and tuple(lengths) != (fixed,):
            raise InputError(
                "the bundle has a fixed length",
                where="--length",
                found=", ".join(map(str, lengths)),
                expected=str(fixed),
                fix="leave it out",
            )
        return (fixed,)
    if not lengths:
        doubled = []
        length = _SHORTEST
        while length < longest:
            doubled.append(length)
            length *= 2
        return (*doubled, longest)
    if len(set(lengths)) < len(lengths) or not 1 <= min(lengths) <= max(lengths) <= longest:
        raise InputError(
            "are not lengths of this bundle",
            where="--length",
            found=", ".join(map(str, lengths)),
            expected=f"different numbers from 1 to {longest}",
        )
    return tuple(sorted(lengths))


def _check(bundle: BundleFiles) -> None:
    """Raises `RefusedError` for a bundle that a browser cannot run."""

    def refuse(what: str, found: str, fix: str) -> None:
        raise RefusedError(what, where=bundle.path, found=found, fix=fix)

    if bundle.head not in TEXT_HEADS:
        refuse(
            "the web target classifies texts", f"the task {bundle.manifest.task}",
            "export a bundle that gives labels per text",
        )  # fmt: skip
    if bundle.manifest.lowering == "fused":
        refuse(
            "LiteRT.js does not load UNIDIRECTIONAL_SEQUENCE_LSTM", "the lowering fused",
            "convert with --lowering loop",
        )  # fmt: skip
    tokenizer = TextTokenizer.of_bundle(bundle)
    if tokenizer.has_markers:
        refuse(
            "the page cannot shorten a text around its mentions", "a tokenizer with markers",
            "use `edgeseq predict`, or the native runner",
        )  # fmt: skip


def _model(bundle: BundleFiles, lengths: Sequence[int]) -> bytes:
    content = bundle.model_path.read_bytes()
    if bundle.manifest.signature.inputs[0].shape[1] > 0:
        return content
    keys = {signature_key(length): length for length in lengths}
    return fix_lengths(content, keys, where=str(bundle.model_path))


def _settings(
    bundle: BundleFiles, tokenizer: TextTokenizer, lengths: tuple[int, ...], size_bytes: int
) -> WebSettings:
    whole = Tokenizer.from_file(str(bundle.tokenizer_path))
    whole.no_truncation()
    whole.no_padding()
    prefix, suffix = ids_around_text(whole)
    unknown = getattr(whole.model, "unk_token", None)
    fixed = bundle.manifest.signature.inputs[0].shape[1] > 0
    key = bundle.manifest.signature.key
    return WebSettings(
        bundle=bundle.manifest.name,
        recipe=bundle.manifest.recipe,
        labels=bundle.labels,
        lengths=lengths,
        signatures={str(length): key if fixed else signature_key(length) for length in lengths},
        max_tokens=lengths[-1],
        prefix_ids=prefix,
        suffix_ids=suffix,
        empty_ids=tuple(tokenizer.token_ids("")),
        padding=bundle.manifest.padding,
        unknown_id=None if unknown is None else whole.token_to_id(unknown),
        model_size_bytes=size_bytes,
        thresholds=threshold_logits(bundle.manifest.thresholds),
    )


def _write_measurement(bundle: BundleFiles, folder: Path, settings: WebSettings) -> None:
    """What the page measures with."""
    measure = folder / "measure"
    measure.mkdir()
    template = result_template(bundle, browser_settings(), RUNTIME)
    (run,) = template.runs
    model = folder / MODEL
    model_bytes = model.stat().st_size
    files = (model, folder / "tokenizer.json", folder / "web.json")
    identity = msgspec.structs.replace(
        run.bundle,
        size_bytes=sum(path.stat().st_size for path in files),
        model_size_bytes=model_bytes,
        model_sha256=sha256_file(model),
        max_tokens=settings.max_tokens,
        provenance={**run.bundle.provenance, "lengths": ",".join(map(str, settings.lengths))},
    )
    run = msgspec.structs.replace(run, bundle=identity)
    template = msgspec.structs.replace(template, runs=(run,))
    write_json(measure / "result.json", template)
    write_json(measure / "order.json", example_order(template))
    shutil.copyfile(bundle.path / "eval.jsonl", measure / "examples.jsonl")


def _golden(
    bundle: BundleFiles, model_path: Path, tokenizer: TextTokenizer, settings: WebSettings
) -> ExportGolden:
    """The golden texts' logits in the exported file, checked against the bundle's own."""
    examples = [
        msgspec.structs.replace(example, token_ids=tuple(tokenizer.token_ids(example.text)))
        for example in bundle.golden.examples
    ]
    token_ids = [example.token_ids for example in examples]
    model = FixedLengthModel(model_path, settings.signatures)
    outputs = np.stack([model.infer(ids) for ids in token_ids])
    difference = float(np.abs(outputs - bundle_logits(bundle, token_ids)).max())
    tolerance = bundle.golden.tolerance
    if bundle.manifest.recipe in _FLOAT_RECIPES:
        tolerance = FLOAT_TOLERANCE * max(1.0, float(np.abs(outputs).max()))
    if difference > tolerance:
        raise RefusedError(
            "answers otherwise at a fixed length",
            where=bundle.path,
            found=f"a logit off by {difference:.3g}",
            expected=f"at most {tolerance:.3g}",
            fix="convert with --lowering unrolled and a --length",
        )
    return export_golden("logits", examples, outputs, tolerance)


def _notes(bundle: BundleFiles, tokenizer: TextTokenizer) -> tuple[str, ...]:
    texts = [example.text for example in bundle.read_examples()]
    truncated = sum(tokenizer.encode(text).truncated for text in texts)
    notes = []
    if bundle.manifest.recipe not in _FLOAT_RECIPES:
        notes.append("LiteRT.js has different kernels: int8 answers differ from those of a board")
    if truncated:
        notes.append(f"{truncated} of {len(texts)} test texts are longer than the longest length")
    return tuple(notes)


def _readme(bundle: BundleFiles, lengths: Sequence[int]) -> str:
    libraries = "".join(f"- {title}\n" for title in library_titles())
    answer = "labels" if bundle.task.is_multilabel else "label"
    return f"""# {bundle.manifest.name} in a browser

Serve this folder with any web server and open it; it needs no other server, and no network.

```sh
python -m http.server 8000 --bind 127.0.0.1   # then open http://127.0.0.1:8000/
```

In your own page, with the import map of `index.html` (or these packages from npm and a bundler):

```js
import {{ loadClassifier }} from "./classifier.js";

const classifier = await loadClassifier("./");
const {{ {answer}, probabilities }} = await classifier.classify("Your text.");
```

`model.tflite` has a signature for each of {", ".join(map(str, lengths))} tokens over shared
weights; the shortest that a text fits into runs, filled up with −1. `golden.json` has texts with
their token ids and logits. `vendor/` holds, as their authors publish them (Apache-2.0):

{libraries}
An app can do without `measure/`, `measure.js` and `page.js`: they measure this device with the
bundle's test texts. `edgeseq report result.json` reads the file that the page saves.
"""
