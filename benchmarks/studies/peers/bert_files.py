"""One MiniLM classifier in the files of all tools, each created by a separate process.

`python -m studies.peers.bert_files ORDER.json`. The weights are those of a checkpoint with a
classifier of
three classes on top; what a tool does by default is left as it is.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from safetensors.numpy import load

from edgeseq.errors import EdgeseqError
from edgeseq.formats.arrays import array_bytes
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import write_bytes
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.huggingface.checkpoint import read_model
from edgeseq_converters.models.huggingface.files import find_files
from edgeseq_converters.models.reference_encoder import bert_answers
from studies.peers.contenders import OPEN, BuildFailure, Contender, Feeding, Peer, Precision
from studies.peers.inputs import PADDED_LENGTH, REAL, FloatArray, Ids
from studies.peers.makers import describe_end

if TYPE_CHECKING:
    from edgeseq.formats.trained_model import TrainedModel

LENGTHS = (32, 128)
CLASSES = 3
TIMEOUT_S = 600


class BertBuildOrder(msgspec.Struct, frozen=True):
    """One contender's file at `length` tokens (`OPEN`: any), from the checkpoint, to `path`."""

    maker: str
    precision: Precision
    length: int
    checkpoint: str
    path: str
    texts: list[Ids]


class PrecisionKind(msgspec.Struct, frozen=True):
    """A row to be made. `padding_id`: what fills a text up for a file that knows it as such."""

    name: str
    peer: Peer
    maker: str
    precision: Precision
    feeding: Feeding
    recipe: str = ""
    padding_id: int | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        return {"open": (OPEN,), "fixed": LENGTHS, "padded": (PADDED_LENGTH,)}[self.feeding]


_RECIPES: dict[Precision, str] = {
    "float32": "float32", "dynamic": "dynamic_wi8_afp32", "int4": "dynamic_wi4_afp32",
}  # fmt: skip
_TWO: tuple[Precision, ...] = ("float32", "dynamic")
KINDS = (
    *(
        PrecisionKind(f"edgeseq {recipe}", "edgeseq", "edgeseq", precision, "open", recipe)
        for precision, recipe in _RECIPES.items()
    ),
    *(
        PrecisionKind(f"onnxruntime {precision}", "onnxruntime", "onnxruntime", precision, "open")
        for precision in _TWO
    ),
    *(
        PrecisionKind(f"onnxruntime fused {precision}", "onnxruntime", "onnxruntime-fused",
                      precision, "open")
        for precision in _TWO
    ),
    *(
        PrecisionKind(f"litert-torch {precision}{' padded' * (feeding == 'padded')}",
                      "litert-torch", "litert-torch", precision, feeding, padding_id=0)
        for precision in _TWO
        for feeding in ("fixed", "padded")
    ),
)  # fmt: skip


def write_checkpoint(source: str, folder: Path, seed: int = 0) -> None:
    """Writes the checkpoint with a pooler and a classifier at random as a Hugging Face folder
    (`studies.peers.bert_head` fits the classifier).

    Raises `FetchError` and `CheckpointError` as `edgeseq convert` does.
    """

    files = find_files(source)
    config = msgspec.json.decode(files.read("config.json"))
    arrays = load(files.read("model.safetensors"))
    arrays = {f"bert.{name.removeprefix('bert.')}": array for name, array in arrays.items()}
    arrays = {name: array for name, array in arrays.items() if "position_ids" not in name}
    rng = np.random.default_rng(seed)
    width = int(config["hidden_size"])
    # Wide enough that texts get different classes.
    arrays["bert.pooler.dense.weight"] = _normal(rng, 2 * width**-0.5, width, width)
    arrays["bert.pooler.dense.bias"] = np.zeros(width, np.float32)
    arrays["classifier.weight"] = _normal(rng, 3 * width**-0.5, CLASSES, width)
    arrays["classifier.bias"] = np.zeros(CLASSES, np.float32)
    config["architectures"] = ["BertForSequenceClassification"]
    config["id2label"] = {str(number): f"class {number}" for number in range(CLASSES)}
    config["label2id"] = {label: int(number) for number, label in config["id2label"].items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "config.json", msgspec.json.encode(config))
    write_bytes(folder / "tokenizer.json", files.read("tokenizer.json"))
    write_bytes(folder / "model.safetensors", array_bytes(arrays, {"format": "pt"}))


def _normal(rng: np.random.Generator, scale: float, *sizes: int) -> FloatArray:
    return rng.normal(scale=scale, size=sizes).astype(np.float32)


class TorchBertReference:
    """The classifier in NumPy, as `edgeseq convert` compares with; every text is computed once."""

    def __init__(self, checkpoint: Path) -> None:
        self._model: TrainedModel = read_model(checkpoint, head="sequence_classification")
        self._known: dict[tuple[int, ...], FloatArray] = {}

    def logits(self, ids: list[int] | tuple[int, ...] | Any) -> FloatArray:
        """Logits [3] of a text."""
        key = tuple(ids)
        if key not in self._known:
            self._known[key] = bert_answers(self._model, [list(key)])[0]
        return self._known[key]


def make_contenders(
    checkpoint: Path, folder: Path, texts: list[Ids], *, log: Callable[[str], None]
) -> tuple[list[Contender], list[BuildFailure]]:
    """Makes every file; one that is in `folder` already is kept, unless it is ours."""
    contenders, failures = [], []
    for kind in KINDS:
        files: dict[int, str] = {}
        for length in kind.lengths:
            suffix = "onnx" if kind.peer == "onnxruntime" else "tflite"
            name = f"{kind.maker}-{kind.precision}-{length or 'open'}"
            path = folder / f"{name}.{suffix}"
            if kind.peer == "edgeseq":
                path.unlink(missing_ok=True)
            if not path.exists():
                log(f"make {name}")
                order = BertBuildOrder(
                    kind.maker, kind.precision, length, str(checkpoint), str(path), texts
                )
                if cause := _run(order, folder / f"{name}.json"):
                    failures.append(BuildFailure(f"{kind.name} {length or ''}".strip(), cause))
                    continue
            files[length] = str(path)
        if files:
            contenders.append(_contender(kind, files))
    return [*contenders, *_padded_ours(contenders)], failures


def _contender(kind: PrecisionKind, files: dict[int, str]) -> Contender:
    workloads = {
        "open": (*map(str, LENGTHS), REAL),
        "fixed": tuple(str(length) for length in files),
        "padded": (REAL,),
    }[kind.feeding]
    return Contender(
        kind.name, kind.peer, kind.precision, kind.feeding, files, workloads,
        recipe=kind.recipe, padding_id=kind.padding_id,
    )  # fmt: skip


def _padded_ours(contenders: list[Contender]) -> list[Contender]:
    """Our int8 file given every text at 128 tokens, as an export of that length would be."""
    return [
        msgspec.structs.replace(
            precision, name=f"{precision.name} at {PADDED_LENGTH}", feeding="padded",
            workloads=(REAL,),
            files={PADDED_LENGTH: precision.files[OPEN]},
        )
        for precision in contenders
        if precision.peer == "edgeseq" and precision.precision == "dynamic"
    ]  # fmt: skip


def _run(order: BertBuildOrder, order_path: Path) -> str | None:
    """Runs an order in a child; None when its file is there, else the cause in one line."""
    order_path.write_bytes(msgspec.json.encode(order))
    log_path = order_path.with_suffix(".log")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with log_path.open("wb") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "studies.peers.bert_files", str(order_path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=TIMEOUT_S,
                env=environment, cwd=Path(__file__).parents[2], check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT_S} s"
    if done.returncode == 0 and Path(order.path).is_file():
        return None
    return describe_end(done.returncode, log_path.read_text(errors="replace"))


def _edgeseq(order: BertBuildOrder) -> None:
    ids = Path(order.path).with_suffix(".ids")
    ids.write_bytes(b"".join(msgspec.json.encode(text) + b"\n" for text in order.texts))
    model = load_model(Path(order.checkpoint), ImportOptions(head="sequence_classification"))
    options = ConversionOptions(recipes=(_RECIPES[order.precision],), token_ids=ids)
    convert_to_file(model, Path(order.path), options)


# A module per tool: each is optional, and its child process loads that tool alone.
_TOOL_MODULES = {
    "onnxruntime": "studies.peers.bert_onnx",
    "onnxruntime-fused": "studies.peers.bert_onnx",
    "litert-torch": "studies.peers.bert_litert",
}


def main(order_path: Path) -> int:
    """The child: makes the file that the order names."""
    order = decode_json(order_path.read_bytes(), BertBuildOrder)
    try:
        if order.maker == "edgeseq":
            _edgeseq(order)
        else:
            importlib.import_module(_TOOL_MODULES[order.maker]).build(order)
    except EdgeseqError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
