"""The export target `native`: a C library with a bundle, for Linux."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeseq.errors import DeviceError, RefusedError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import MODEL_FILE, RUNNER_FILE
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.export_folder import ExportExample, ExportFolder, ExportGolden
from edgeseq.formats.export_target import ExportContents, ExportOptions, RuntimeOutputs
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import run_command
from edgeseq.tasks.head import is_numeric
from edgeseq_benchmarks.bench.predictor import continue_texts, predict
from edgeseq_benchmarks.devices.native.native_files import TESTED_VERSION, find_library
from edgeseq_benchmarks.native.build import FLAGS, compile_program, find_compiler
from edgeseq_benchmarks.native.library import installed_version
from edgeseq_benchmarks.native.library_sources import (
    example_sources,
    library_path,
    write_library_sources,
)
from edgeseq_benchmarks.native.targets import NativeTarget, find_target, host_target

TOLERANCE = 1e-5
"""Of a probability: the same kernels, and a softmax of float32 logits."""
_BUNDLE_FILES = (MODEL_FILE, RUNNER_FILE)
_TIMEOUT_S = 300.0
_README = """\
# {name} as a C library for {system}

| file | what it is |
|---|---|
| `include/edgeseq.h` | the interface |
| `src/`, `CMakeLists.txt` | the library: C11, no dependency but the C library |
| `lib/libLiteRt.so` | LiteRT {version} for {system}, opened at run time |
| `bundle/` | the model, with its tokenizer and labels |
| `example.c` | a program that answers texts |

## Use

```c
#include "edgeseq.h"

edgeseq_model *model = edgeseq_open("bundle", "lib/libLiteRt.so", 1);
if (!model) return show(edgeseq_error());
{call}
edgeseq_close(model);
```

## Build

    cmake -S . -B build && cmake --build build
    build/edgeseq_example bundle lib/libLiteRt.so "A text"

`edgeseq export --check` with the path of this folder builds the example and compares its answers
with golden.json.
"""
_CALLS = {
    "text-classification": """\
const double *probabilities;
int label = edgeseq_classify(model, text, strlen(text), &probabilities);
if (label >= 0) puts(edgeseq_label(model, (size_t)label));""",
    "multilabel-classification": """\
const double *probabilities;
const int *has_label;
edgeseq_label_text(model, text, strlen(text), &probabilities, &has_label);
for (size_t n = 0; n < edgeseq_num_labels(model); n++)
    if (has_label[n]) puts(edgeseq_label(model, n));""",
    "token-classification": """\
const edgeseq_tagged_word *words;
int count = edgeseq_tag(model, text, strlen(text), &words);
for (int n = 0; n < count; n++) puts(words[n].tag);""",
    "language-modeling": """\
edgeseq_next_word words[3];
edgeseq_begin_text(model);
edgeseq_read(model, text, strlen(text)); // again and again: the model keeps what it has read
int count = edgeseq_next_words(model, words, 3);""",
}


class NativeExport:
    """See `edgeseq.formats.export_target.ExportTarget`."""

    def export(self, bundle: BundleFiles, folder: Path, options: ExportOptions) -> ExportContents:
        """Writes the library's sources, LiteRT's library and the bundle; raises `RefusedError`."""
        _check(bundle)
        system = _system(options.system)
        version = installed_version() or TESTED_VERSION
        write_library_sources(folder)
        library_path(folder).parent.mkdir()
        shutil.copyfile(find_library(system, version), library_path(folder))
        (folder / "bundle").mkdir()
        for name in _BUNDLE_FILES:
            shutil.copyfile(bundle.path / name, folder / "bundle" / name)
        readme = _README.format(
            name=bundle.manifest.name,
            system=system.name,
            version=version,
            call=_CALLS[bundle.head],
        )
        # Another processor has other kernels, as the bundle's own tolerance allows for.
        tolerance = TOLERANCE
        if system != host_target():
            tolerance = max(TOLERANCE, bundle.golden.tolerance)
        golden = ExportGolden(
            "probabilities", f"ai-edge-litert {version}", tolerance, _golden_examples(bundle)
        )
        sizes = [path.stat().st_size for path in (folder / "bundle").iterdir()]
        settings = {
            "system": system.name,
            "litert": version,
            "library_bytes": library_path(folder).stat().st_size,
            "bundle_bytes": sum(sizes),
        }
        return ExportContents(golden=golden, readme=readme, settings=settings)

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        """Compiles the example with warnings as errors, and runs it on the golden texts."""
        system = find_target(str(export.manifest.settings.get("system")), where=str(export.path))
        if system != host_target():
            raise DeviceError(
                "the example is checked where it runs",
                where=export.path,
                found=system.name,
                fix="copy the folder there and build it, or export for this machine",
            )
        compiler = find_compiler(system)
        with temporary_folder() as build_dir:
            program = build_dir / "example"
            includes = [f"-I{export.path.absolute() / name}" for name in ("include", "src")]
            compile_program(
                compiler, example_sources(export.path), program, flags=(*FLAGS, *includes)
            )
            texts = [example.text for example in export.golden.examples]
            outputs = run_example(program, export.path / "bundle", library_path(export.path), texts)
        name = f"the C library with LiteRT {export.manifest.settings.get('litert')}"
        return RuntimeOutputs(name, outputs)


TARGET = NativeExport()


def run_example(
    program: Path,
    bundle_dir: Path,
    library: Path,
    texts: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """The probabilities that the example prints for each text.

    Raises `DeviceError` with its last line when it fails.
    """
    command = [str(program), str(bundle_dir), str(library), *texts]
    output = run_command(command, timeout_s=_TIMEOUT_S, env=env)
    if output.returncode:
        raise DeviceError(
            "the example fails",
            where=bundle_dir,
            found=last_line(output.stderr) or format_exit(output.returncode),
            fix="export the bundle again",
        )
    *lines, _ = output.stdout.decode().split("\n")  # a word may hold another end of a line
    return tuple(tuple(float(number) for number in line.split("\t")[1:]) for line in lines)


def _check(bundle: BundleFiles) -> None:
    manifest = bundle.manifest
    reason, fix = manifest.native_unsupported, "use a tokenizer that the native runner has"
    if is_numeric(bundle.head):
        reason, fix = "it reads texts, not numeric sequences", "run it with Python"
    if manifest.lowering == "fused":
        reason = "lowering fused: LiteRT's C library does not load a file with variable tensors"
        fix = "convert again with --lowering loop"
    if reason is not None:
        raise RefusedError(
            "the C library cannot run this bundle", where=bundle.path, found=reason, fix=fix
        )


def _system(name: str | None) -> NativeTarget:
    system = host_target() if name is None else find_target(name)
    if system is None:
        raise RefusedError(
            "the C library does not run on this machine",
            fix="name a --target: linux-x86_64 or linux-aarch64",
        )
    return system


def _golden_examples(bundle: BundleFiles) -> tuple[ExportExample, ...]:
    """The bundle's golden texts with the answers of Python's runtime: probabilities of the labels,
    of each word's tag, or of the three most likely next words."""
    golden = [example for example in bundle.golden.examples if example.text.strip()]
    texts = [example.text for example in golden]
    if bundle.head == "language-modeling":
        continuations = continue_texts(bundle.path, texts)
        outputs = [continuation.probabilities for continuation in continuations]
    else:
        predictions = predict(bundle.path, texts)
        outputs = [
            prediction.tag_scores or tuple(prediction.scores.values()) for prediction in predictions
        ]
    return tuple(
        ExportExample(example.text, example.token_ids, output)
        for example, output in zip(golden, outputs, strict=True)
    )
