"""Files of our own converter: the one place that knows its interface."""

from __future__ import annotations

from pathlib import Path

import msgspec

from peers.contenders import OPEN, Contender, Precision
from peers.inputs import LENGTHS, PADDED_LENGTH, REAL, FloatArray

_EVERYWHERE = (*map(str, LENGTHS), REAL)


class Unmade(msgspec.Struct, frozen=True):
    """A lowering and recipe that was refused, and why."""

    name: str
    cause: str


class Made(msgspec.Struct, frozen=True):
    """What `our_models` gives: rows for the table, and what could not be made."""

    contenders: tuple[Contender, ...] = ()
    failures: tuple[Unmade, ...] = ()


def our_models(weights: dict[str, FloatArray], folder: Path) -> Made:
    """Every lowering in every recipe that the converter has, as files in `folder`.

    `unrolled` has a file a length; the others take any. Without a file for a length there is
    none for the real lengths, which an unrolled file of `PADDED_LENGTH` steps answers.
    """
    from edgeseq_converters.lowerings import whole
    from edgeseq_converters.lowerings.weights import WeightFormat
    from edgeseq_converters.network import Cell, Dense, Embedding, Network, Recurrent

    from edgeseq.errors import EdgeseqError

    cell = Cell("lstm", weights["kernel"], weights["recurrent"], weights["bias"])
    head = Dense("dense", weights["head"], weights["head_bias"])
    layers = (Recurrent("lstm", cell), head)
    network = Network("peer", Embedding("embedding", weights["table"]), layers)
    formats: dict[tuple[Precision, str], WeightFormat] = {
        ("float32", "float32"): WeightFormat("float32"),
        ("dynamic", "dynamic_wi8_afp32"): WeightFormat("int8", dynamic=True),
    }
    contenders: list[Contender] = []
    failures: list[Unmade] = []
    for lowering in ("loop", "fused", "unrolled"):
        lengths = LENGTHS if lowering == "unrolled" else (OPEN,)
        for (precision, recipe), weight_format in formats.items():
            name = f"edgeseq {lowering} {recipe}"
            files: dict[int, str] = {}
            try:
                for length in lengths:
                    content = whole.lower(
                        network, lowering, weight_format, output="logits", steps=length or None
                    )
                    path = folder / f"edgeseq-{lowering}-{recipe}-{length or 'open'}.tflite"
                    path.write_bytes(content)
                    files[length] = str(path)
            except EdgeseqError as error:
                failures.append(Unmade(name, str(error)))
                continue
            contenders.append(
                Contender(
                    name=name,
                    peer="edgeseq",
                    precision=precision,
                    feeding="open" if OPEN in files else "fixed",
                    files=files,
                    workloads=_EVERYWHERE if {OPEN, PADDED_LENGTH} & set(files) else (),
                    recipe=recipe,
                    lowering=lowering,
                )
            )
    return Made(tuple(contenders), tuple(failures))
