"""The C and C++ files of an export: what is written for a model, and the sources beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeseq.formats.export_folder import ExportExample
from edgeseq.formats.padding import Padding
from edgeseq.formats.storage import write_text
from edgeseq_converters.export.micro.c_text import array, c_float, c_string
from edgeseq_converters.export.micro.one_token_graph import OneTokenModel
from edgeseq_converters.export.micro.vocabulary_table import VocabularyTable

SOURCE_DIR = Path(__file__).parent / "src"
CLASSIFIER = ("classifier.h", "classifier.cc", "token_input.h", "example_main.cc")
TOKENIZER = ("tokenizer.h", "tokenizer.c", "tokenize_texts.c")
UNMEASURED_ARENA_BYTES = 64 << 10
"""What the C array of an arena gets that was not measured."""
ARENA_STEP_BYTES = 1024
"""The arena is rounded up to a multiple: a little room for another release of the runtime."""
_PADDING = {"none": "kNone", "pre": "kPre", "post": "kPost"}
_NOTE = "// Written by edgeseq export."


@dataclass(frozen=True)
class MicroSources:
    """All that the C files of one export say; `arena_bytes` is None where it was not measured."""

    model: OneTokenModel
    labels: tuple[str, ...]
    num_token_ids: int
    max_tokens: int
    padding: Padding
    arena_bytes: int | None
    vocabulary: VocabularyTable | None
    examples: Sequence[ExportExample]
    tolerance: float

    @property
    def reserved_arena_bytes(self) -> int:
        """The size of the arena that the program reserves."""
        if self.arena_bytes is None:
            return UNMEASURED_ARENA_BYTES
        # A whole step more: the interpreter aligns the arena, and its own objects are in it.
        return (self.arena_bytes // ARENA_STEP_BYTES + 2) * ARENA_STEP_BYTES

    def write(self, folder: Path) -> None:
        """Writes the files to `folder`; raises `OutputError` as `write_text` does."""
        texts = {
            "model_data.h": _header("MODEL_DATA", "extern const unsigned char g_model_data[];"),
            "model_data.cc": self._model_data(),
            "model_operators.h": self._operators(),
            "model_settings.h": self._settings(),
            "golden_texts.h": self._golden_texts(),
        }
        copied: tuple[str, ...] = CLASSIFIER
        if self.vocabulary is not None:
            copied = (*CLASSIFIER, *TOKENIZER)
            texts["vocabulary.h"] = self.vocabulary.header()
            texts["vocabulary.c"] = self.vocabulary.source()
        for name, text in texts.items():
            write_text(folder / name, text)
        for name in copied:
            shutil.copyfile(SOURCE_DIR / name, folder / name)

    def _model_data(self) -> str:
        content = array(
            "alignas(16) const unsigned char", "g_model_data", map(hex, self.model.content)
        )
        return f'{_NOTE}\n#include "model_data.h"\n\n{content}'

    def _operators(self) -> str:
        names = [_method(name) for name in self.model.operators]
        calls = [f"  if (resolver.{name}() != kTfLiteOk) return kTfLiteError;" for name in names]
        return _header(
            "MODEL_OPERATORS",
            '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
            "",
            "// The operators of the model; the linker leaves all others out of the program.",
            f"using ModelOperators = tflite::MicroMutableOpResolver<{len(names)}>;",
            "",
            "inline TfLiteStatus AddModelOperators(ModelOperators& resolver) {",
            *calls,
            "  return kTfLiteOk;",
            "}",
        )

    def _settings(self) -> str:
        measured = "not measured: lower it to what the example prints"
        if self.arena_bytes is not None:
            measured = f"measured: {self.arena_bytes:,} bytes on a computer of 64 bits"
        return _header(
            "MODEL_SETTINGS",
            "#include <cstddef>",
            "#include <cstdint>",
            "",
            f"#define HAS_TOKENIZER {int(self.vocabulary is not None)}",
            "",
            f"// {measured}; pointers of 32 bits need less.",
            f"constexpr size_t kTensorArenaBytes = {self.reserved_arena_bytes};",
            "",
            "// What one token hands to the next: inputs and outputs 1, 2, ... of the model.",
            "struct StateOfStep {",
            "  size_t size_bytes;",
            "  uint8_t first_byte;  // all bytes before the first token",
            "};",
            "constexpr StateOfStep kStates[] = {",
            *(
                f"    {{{state.size_bytes}, {state.first_byte}}},  // {state.name}"
                for state in self.model.states
            ),
            "};",
            f"constexpr size_t kNumStates = {len(self.model.states)};",
            f"constexpr size_t kStateBytes = {self.model.state_bytes};",
            "",
            f"constexpr int kNumTokenIds = {self.num_token_ids};",
            "",
            "// Where a text is filled up to kMaxTokens with kPadId, and which end of a longer one",
            "// is cut, as the model was trained.",
            "enum class Padding { kNone, kPre, kPost };",
            f"constexpr Padding kPadding = Padding::{_PADDING[self.padding.side]};",
            f"constexpr size_t kMaxTokens = {self.max_tokens};",
            f"constexpr int32_t kPadId = {self.padding.pad_id};",
            f"constexpr bool kCutsBeginning = {str(self.padding.truncation == 'pre').lower()};",
            "",
            f"constexpr int kNumLabels = {len(self.labels)};",
            "constexpr const char* kLabels[] = {",
            *(f"    {c_string(label)}," for label in self.labels),
            "};",
        )

    def _golden_texts(self) -> str:
        ids = [
            array("constexpr int32_t", f"kGoldenIds{number}", example.token_ids).rstrip()
            for number, example in enumerate(self.examples)
        ]
        texts = []
        for number, example in enumerate(self.examples):
            logits = ", ".join(map(c_float, example.output))
            texts += [
                f"    {{{c_string(example.text)}, {str(example.text.isascii()).lower()},",
                f"     kGoldenIds{number}, {len(example.token_ids)}, {{{logits}}}}},",
            ]
        return _header(
            "GOLDEN_TEXTS",
            "#include <cstddef>",
            "#include <cstdint>",
            "",
            '#include "model_settings.h"',
            "",
            "struct GoldenText {",
            "  const char* text;",
            "  bool is_ascii;",
            "  const int32_t* ids;",
            "  size_t count;",
            "  float logits[kNumLabels];",
            "};",
            "",
            f"constexpr float kGoldenTolerance = {c_float(self.tolerance)};",
            *ids,
            "constexpr GoldenText kGoldenTexts[] = {",
            *texts,
            "};",
        )


def _method(operator: str) -> str:
    """`AddFullyConnected` of `FULLY_CONNECTED`."""
    return "Add" + "".join(word.capitalize() for word in operator.split("_"))


def _header(name: str, *lines: str) -> str:
    guard = f"EDGESEQ_{name}_H"
    return "\n".join((_NOTE, f"#ifndef {guard}", f"#define {guard}", "", *lines, "", "#endif", ""))
