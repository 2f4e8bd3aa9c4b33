"""An export for microcontrollers cuts and pads token ids as the bundle does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

import edgeseq as es
from edgeseq.formats.export_folder import read_export
from edgeseq.formats.padding import Padding, PaddingSide, TruncationSide
from edgeseq.formats.trained_model import write_model_folder
from edgeseq.subprocesses.c_compilers import find_system_compiler
from edgeseq_converters.export.micro.c_sources import MicroSources
from edgeseq_converters.export.micro.micro_runtime import is_installed
from edgeseq_converters.export.micro.one_token_graph import OneTokenModel
from edgeseq_converters.export.micro.step_states import StepState

from ..conftest import Make

LENGTH = 10
PROGRAM = """
#include <cstdio>
#include "token_input.h"
int main() {
  int32_t ids[16];
  for (size_t count = 0; count <= 16; count++) {
    for (size_t index = 0; index < count; index++) ids[index] = 100 + static_cast<int>(index);
    for (size_t position = 0; position < NumInputs(count); position++)
      std::printf("%d ", static_cast<int>(InputAt(ids, count, position)));
    std::printf("\\n");
  }
}
"""


def expected_ids(count: int, padding: Padding) -> list[int]:
    """Ids 100, 101, … as `pad_sequences` cuts and pads them."""
    ids = list(range(100, 100 + count))
    ids = ids[-LENGTH:] if padding.truncation == "pre" else ids[:LENGTH]
    missing = [padding.pad_id] * (LENGTH - len(ids)) if padding.is_padded else []
    return [*missing, *ids] if padding.side == "pre" else [*ids, *missing]


@pytest.mark.parametrize("side", ["none", "pre", "post"])
@pytest.mark.parametrize("truncation", ["pre", "post"])
def test_ids_are_cut_and_padded_as_keras_does(
    tmp_path: Path, side: PaddingSide, truncation: TruncationSide
) -> None:
    compiler = find_system_compiler(("g++", "clang++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    padding = Padding(side, 3, truncation)
    model = OneTokenModel(b"TFL3", (), (StepState("hidden_0", "int8", 4),), 1.0)
    MicroSources(model, ("a", "b"), 200, LENGTH, padding, None, None, (), 0.0).write(tmp_path)
    (tmp_path / "main.cc").write_text(PROGRAM)
    program = tmp_path / "program"
    subprocess.run(
        [*compiler, "-std=c++17", "-Wall", "-Werror", tmp_path / "main.cc", "-o", program],
        check=True,
    )
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    found = [[int(number) for number in line.split()] for line in lines.splitlines()]
    assert found == [expected_ids(count, padding) for count in range(17)]


@pytest.mark.skipif(not is_installed(), reason="needs tflite-micro")
def test_a_padded_bundle_is_exported_and_checked(make: Make, tmp_path: Path) -> None:
    model = make.lstm(bidirectional=False)
    manifest = msgspec.structs.replace(
        model.manifest, padding=Padding("pre", 0, "pre"), max_tokens=LENGTH
    )
    write_model_folder(tmp_path / "model", msgspec.structs.replace(model, manifest=manifest))
    bundle = es.convert(
        tmp_path / "model",
        make.dataset(),
        recipe="static_wi8_ai8",
        lowering="fused",
        out=tmp_path / "bundle",
        progress=None,
    )
    exported = es.export(bundle, "micro", out=tmp_path / "export")
    assert es.check_export(exported.path).findings == ()
    lengths = {len(example.token_ids) for example in read_export(exported.path).golden.examples}
    assert lengths == {LENGTH}
    assert "constexpr Padding kPadding = Padding::kPre;" in (
        exported.path / "model_settings.h"
    ).read_text(encoding="utf-8")
