"""Drops the rows of an embedding table that a corpus never uses.

The table is most of a small model's bytes. Rows are dropped and never changed, so the answer to
every text whose tokens are all kept stays the same to the last bit. What an answer's numbers mean
stays as well: a language model still gives one number a word of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.models.arrays import lstm_config
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.vocabulary import renumbered_marks, trim_tokenizer

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trimmed:
    """A network with a smaller table.

    `kept_ids` [rows after] has the old id of each row, ascending; `new_ids` [rows before] the new
    id of each old one, -1 where the row is gone. `tokenizer_json` gives new ids, where there is
    a tokenizer; without one, ids go through `new_ids`.
    """

    network: Network
    kept_ids: Ids
    new_ids: Ids
    tokenizer_json: str | None = None

    @property
    def rows_before(self) -> int:
        return int(self.new_ids.size)

    @property
    def rows_after(self) -> int:
        return int(self.kept_ids.size)

    @property
    def saved_bytes(self) -> int:
        """Bytes of the rows that are gone, in float32."""
        return 4 * self.network.embedding.size * (self.rows_before - self.rows_after)

    def renumber(self, token_ids: Sequence[int]) -> list[int]:
        """A text's old ids as new ones; raises `CheckpointError` for one whose row is gone."""
        new_ids = self.new_ids[list(token_ids)] if len(token_ids) else np.zeros(0, np.int64)
        if (new_ids < 0).any():
            missing = [old for old, new in zip(token_ids, new_ids, strict=True) if new < 0]
            raise CheckpointError(
                "uses a token that was trimmed away",
                where=self.network.name,
                found=f"id {missing[0]}",
                fix="trim with a corpus that has it, or do not trim",
            )
        return [int(token_id) for token_id in new_ids]


def trim_network(
    network: Network, texts: Iterable[Sequence[int]], *, always_kept: Iterable[int] = ()
) -> Trimmed:
    """Keeps the rows of the ids in `texts` and in `keep` (an unknown token's, a start's).

    With `mask_zero`, id 0 stays 0, which is padding. Raises `CheckpointError` for an id beyond
    the table and when no id is left.
    """
    used = {int(token_id) for text in texts for token_id in text} | set(map(int, always_kept))
    return _select(network, used)


def trim_network_and_tokenizer(
    network: Network, tokenizer_json: str, texts: Sequence[str]
) -> Trimmed:
    """Keeps the rows of special tokens, of single characters, and of what `texts` are split into.

    The trimmed tokenizer splits each of `texts` as before (`vocabulary.trim_tokenizer`). With
    `mask_zero`, id 0 stays 0, whether or not the tokenizer has it. Raises `CheckpointError` for a
    tokenizer that is neither WordPiece nor BPE nor WordLevel, or that has ids beyond the table.
    """
    always = (0,) if network.embedding.mask_zero else ()
    vocabulary = trim_tokenizer(tokenizer_json, texts, always=always)
    selected = _select(network, set(vocabulary.kept_ids.tolist()))
    return replace(selected, tokenizer_json=vocabulary.tokenizer_json)


def trim_trained(model: TrainedModel, texts: Sequence[str], *, min_count: int = 1) -> TrainedModel:
    """A recurrent model with the tokenizer and the table trimmed to what occurs `min_count` times
    in `texts`.

    Raises `CheckpointError` for another architecture and as `trim_network_and_tokenizer` does.
    """
    manifest = model.manifest
    network = manifest.network
    padding = manifest.padding
    always = {0} if network is not None and network.mask_zero else set()
    always |= {padding.pad_id} if padding.is_padded else set()
    vocabulary = trim_tokenizer(model.tokenizer_json, texts, min_count=min_count, always=always)
    table = np.asarray(model.weights["embedding.weight"])
    _check_rows(vocabulary.kept_ids, len(table), manifest.name)
    size = int(vocabulary.kept_ids.size)
    pad_id = int(np.searchsorted(vocabulary.kept_ids, padding.pad_id)) if padding.is_padded else 0
    padding = msgspec.structs.replace(padding, pad_id=pad_id)
    manifest = msgspec.structs.replace(manifest, padding=padding)
    if network is not None:
        network = msgspec.structs.replace(network, vocabulary_size=size)
        manifest = msgspec.structs.replace(manifest, network=network)
    elif manifest.bag is not None:
        bag = msgspec.structs.replace(manifest.bag, vocabulary_size=size)
        manifest = msgspec.structs.replace(manifest, bag=bag)
    else:
        config = lstm_config(model)
        marks = renumbered_marks(config.marker_ids, vocabulary.kept_ids)
        config = msgspec.structs.replace(config, vocabulary_size=size, marker_ids=marks)
        manifest = msgspec.structs.replace(manifest, lstm=config)
    return TrainedModel(
        manifest=manifest,
        weights={**model.weights, "embedding.weight": table[vocabulary.kept_ids]},
        tokenizer_json=vocabulary.tokenizer_json,
    )


def _select(network: Network, used: set[int]) -> Trimmed:
    embedding = network.embedding
    if embedding.mask_zero:
        used = used | {0}
    kept_ids = np.asarray(sorted(used), np.int64)
    _check_rows(kept_ids, embedding.vocabulary_size, network.name)
    new_ids = np.full(embedding.vocabulary_size, -1, np.int64)
    new_ids[kept_ids] = np.arange(kept_ids.size)
    smaller = replace(embedding, table=np.ascontiguousarray(embedding.table[kept_ids]))
    return Trimmed(replace(network, input=smaller), kept_ids, new_ids)


def _check_rows(kept_ids: Ids, rows: int, where: str) -> None:
    if not kept_ids.size:
        raise CheckpointError("has no tokens left", where=where, fix="trim with another corpus")
    if kept_ids[0] < 0 or kept_ids[-1] >= rows:
        raise CheckpointError(
            "is used with a token beyond its embedding table",
            where=where,
            found=f"id {kept_ids[0] if kept_ids[0] < 0 else kept_ids[-1]}",
            expected=f"0 to {rows - 1}",
            fix="use the tokenizer that the model was trained with",
        )
