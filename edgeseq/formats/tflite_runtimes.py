"""Which TFLite runtimes can load a file, by the versions of its operators.

A runtime refuses a file at load time when it lacks an operator or its version. The table
(tflite_operator_versions.json: lowest and highest version by operator) was read off the released
wheels themselves: each was asked to load an empty model that names one operator in one version,
for every builtin and the versions 1 to 19. `tests/edgeseq/test_tflite_runtimes.py` repeats this
against the installed runtime.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from edgeseq.formats.codec import decode_json
from edgeseq.formats.tflite_file import TfliteFile


class RuntimeSupport(msgspec.Struct, frozen=True):
    """Whether one runtime can load a file; `missing_operators` names what it refuses."""

    runtime: str
    loads: bool
    missing_operators: tuple[str, ...]


@functools.cache
def operator_versions() -> dict[str, dict[str, tuple[int, int]]]:
    """By runtime and operator: the lowest and the highest version that it loads."""
    content = (resources.files("edgeseq.formats") / "tflite_operator_versions.json").read_bytes()
    return decode_json(content, dict[str, dict[str, tuple[int, int]]])


def runtime_support(model: TfliteFile) -> tuple[RuntimeSupport, ...]:
    """For each known runtime whether it loads `model`, newest first.

    Custom operators count as missing: the plain runtimes bring none.
    """
    uses = sorted({(use.name, use.version) for use in model.operator_uses()})
    answers = []
    for runtime, versions in operator_versions().items():
        missing = []
        for name, version in uses:
            lowest, highest = versions.get(name, (0, 0))
            if not lowest <= version <= highest:
                has = f"it has {lowest} to {highest}" if highest else "it has none"
                missing.append(f"{name} version {version} ({has})")
        answers.append(RuntimeSupport(runtime, not missing, tuple(missing)))
    return tuple(sorted(answers, key=lambda support: support.runtime))
