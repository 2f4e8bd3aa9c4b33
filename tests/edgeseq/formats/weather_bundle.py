"""The files of a bundle that is sound but for its model, which no runtime could load."""

from __future__ import annotations

import hashlib
import json

from edgeseq.formats.bundle_manifest import SCHEMA_VERSION

FILES = {
    "model.tflite": b"\x18\0\0\0TFL3" + bytes(56),
    "tokenizer.json": b"{}",
    "labels.json": b'["cold", "warm"]',
    "golden.json": b'{"examples": [{"text": "rain", "token_ids": [1], "logits": [0.5, 1.0]}],'
    b' "tolerance": 0.01}',
    "eval.jsonl": b'{"id": "1", "text": "fog", "label": "cold"}\n',
    "runner.bin": b"edgeseqR" + bytes(24),
}


def manifest(contents: dict[str, bytes], **changes: object) -> bytes:
    ids = {"name": "input_ids", "dtype": "int32", "shape": [1, -1]}
    logits = {"name": "logits", "dtype": "float32", "shape": [1, 2]}
    entries = {
        name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    said = {
        "schema_version": SCHEMA_VERSION,
        **{"name": "weather", "task": "sentiment", "arch": "lstm", "recipe": "float32"},
        **{"lowering": "loop", "parameters": 10, "vocabulary_size": 4, "max_tokens": 8},
        "signature": {"key": "serving_default", "inputs": [ids], "outputs": [logits]},
        "fidelity": {
            **{"n_examples": 1, "max_abs_error": 0.0, "cosine": 1.0, "label_agreement": 1.0}
        },
        "provenance": {
            **{"created_utc": "2026-01-01T00:00:00+00:00", "source": "s", "source_sha256": "0"},
            **{"data_name": "d", "data_sha256": "0", "tool_versions": {}},
        },
        "files": entries,
    }
    return json.dumps(said | changes).encode()
