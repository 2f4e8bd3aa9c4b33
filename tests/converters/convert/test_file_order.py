"""Where constants stand in a written file: what is read again and again lies together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import ALIGNMENT_BYTES, Writer

RNG = np.random.default_rng(5)


def _normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_what_is_read_from_the_file_stands_before_what_is_packed(tmp_path: Path) -> None:
    table, gains = _normal(50, 16), [_normal(16) for _ in range(3)]
    matrices, biases = [_normal(16, 16) for _ in range(3)], [_normal(16) for _ in range(3)]
    writer = Writer("test")
    main = writer.graph("main")
    ids = main.input("ids", "int32", (1,))
    hidden = op.gather(main.constant("table", table), ids)
    expected = table[[7]]
    for gain, matrix, bias in zip(gains, matrices, biases, strict=True):
        hidden = op.multiply(hidden, main.constant("gain", gain))
        hidden = op.fully_connected(
            hidden, main.constant("matrix", matrix), main.constant("bias", bias)
        )
        expected = (expected * gain) @ matrix.T + bias
    main.outputs.append(hidden)
    writer.add_signature("serving_default", {"ids": ids}, {"out": hidden})
    content = writer.pack()

    begins = {name: [content.index(part.tobytes()) for part in parts] for name, parts in
              {"read": [*gains, table], "packed": [*matrices, *biases]}.items()}  # fmt: skip
    everything = [*begins["read"], *begins["packed"]]
    assert all(begin % ALIGNMENT_BYTES == 0 for begin in everything)
    assert max(begins["read"]) < min(begins["packed"])
    assert begins["packed"][:3] == sorted(begins["packed"][:3])  # as XNNPACK comes to them
    assert begins["read"][-1] == max(begins["read"])  # the table, behind the small ones

    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    model = Interpreter(model_path=str(path))
    answer = model.get_signature_runner()(ids=np.array([7], np.int32))["out"]
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_what_is_both_looked_up_and_multiplied_by_counts_as_read() -> None:
    table, other = _normal(50, 16), _normal(16, 16)
    writer = Writer("test")
    main = writer.graph("main")
    ids = main.input("ids", "int32", (1,))
    words = main.constant("words", table)
    hidden = op.fully_connected(op.gather(words, ids), main.constant("matrix", other), None)
    logits = op.fully_connected(hidden, words, None)
    main.outputs.append(logits)
    writer.add_signature("serving_default", {"ids": ids}, {"out": logits})
    content = writer.pack()
    assert content.index(table.tobytes()) < content.index(other.tobytes())
