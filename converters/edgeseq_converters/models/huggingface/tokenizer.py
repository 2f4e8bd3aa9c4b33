"""A checkpoint's tokenizer as one tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.tokenizer_limits import check_steps
from edgeseq_converters.models.huggingface.files import Files

TOKENIZER = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"


def read_tokenizer(files: Files, *, vocabulary_size: int) -> str:
    """The content of a `tokenizer.json` with truncation and padding switched off.

    Where a checkpoint has none it is made: from `vocab.txt` (WordPiece, as BERT has it), or from
    `vocab.json` and `merges.txt` (byte-level BPE, as RoBERTa has it). Raises `CheckpointError`
    when the tokenizer is missing or damaged, or has ids beyond `vocabulary_size`.
    """
    if files.has(TOKENIZER):
        return parse_tokenizer(
            files.read(TOKENIZER), vocabulary_size, where=files.where / TOKENIZER
        )
    if files.has("vocab.txt"):
        tokenizer, where = _word_pieces(files), "vocab.txt"
    elif files.has("vocab.json") and files.has("merges.txt"):
        tokenizer, where = _byte_pairs(files), "vocab.json"
    else:
        pieces = [name for name in files.names() if name.endswith(".model")]
        raise CheckpointError(
            f"has neither {TOKENIZER} nor vocab.txt nor vocab.json with merges.txt",
            where=files.where,
            found=", ".join(pieces) or "no tokenizer",
            fix="load it with transformers' AutoTokenizer and save it with save_pretrained, "
            f"which writes {TOKENIZER}",
        )
    content = str(tokenizer.to_str()).encode()
    return parse_tokenizer(content, vocabulary_size, where=files.where / where)


def parse_tokenizer(content: bytes, vocabulary_size: int, *, where: Path) -> str:
    """A `tokenizer.json` with truncation and padding switched off.

    Raises `CheckpointError` when it is damaged or has ids beyond the word table.
    """
    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as failure:  # tokenizers raises a bare Exception, nothing finer
        raise CheckpointError(
            "is not a tokenizer", where=where, found=str(failure).splitlines()[0]
        ) from failure
    description = decode_json(content, dict[str, Any])  # it was read by the library already
    for name in ("normalizer", "pre_tokenizer"):
        check_steps(description.get(name), error=CheckpointError, where=where)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocabulary_size:
        raise CheckpointError(
            "has an id beyond the word table",
            where=where,
            found=largest,
            expected=f"< {vocabulary_size} (vocab_size)",
        )
    return str(tokenizer.to_str())


def _word_pieces(files: Files) -> Any:
    """BERT's own: normalized, split at spaces and punctuation, longest piece first."""
    settings = files.read_json(_SETTINGS) if files.has(_SETTINGS) else {}
    where = files.where / "vocab.txt"
    pieces = _text(files, "vocab.txt").splitlines()
    vocabulary = {piece.rstrip("\r"): number for number, piece in enumerate(pieces)}
    unknown = _special(settings, "unk_token", "[UNK]")
    start, end = _special(settings, "cls_token", "[CLS]"), _special(settings, "sep_token", "[SEP]")
    for piece in (unknown, start, end):
        if piece not in vocabulary:
            raise CheckpointError(f"has no line {piece}", where=where, fix=f"check {_SETTINGS}")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[start, "$A", end],
        pair=[start, "$A", end, "$B:1", f"{end}:1"],
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    optional_tokens = (
        _special(settings, "pad_token", "[PAD]"),
        _special(settings, "mask_token", "[MASK]"),
    )
    specials = [unknown, start, end, *optional_tokens]
    tokenizer.add_special_tokens([piece for piece in specials if piece in vocabulary])
    return tokenizer


def _byte_pairs(files: Files) -> Any:
    """RoBERTa's: bytes as characters (Radford et al. 2019), merged pair by pair."""
    settings = files.read_json(_SETTINGS) if files.has(_SETTINGS) else {}
    vocabulary: dict[str, int] = files.read_json("vocab.json", dict[str, int])
    merges = []
    for number, line in enumerate(_text(files, "merges.txt").split("\n"), start=1):
        pair = line.rstrip("\r").split(" ")
        if line.startswith("#version") or not line.strip():
            continue
        if len(pair) != 2:
            raise CheckpointError(
                "is not a pair of pieces",
                where=f"{files.where / 'merges.txt'}:{number}",
                found=repr(line[:80]),
            )
        merges.append((pair[0], pair[1]))
    start, end = _special(settings, "cls_token", "<s>"), _special(settings, "sep_token", "</s>")
    unknown = _special(settings, "unk_token", "<unk>")
    where = files.where / "vocab.json"
    for piece in (unknown, start, end):
        if piece not in vocabulary:
            raise CheckpointError(f"has no piece {piece}", where=where, fix=f"check {_SETTINGS}")
    try:
        model = models.BPE(vocabulary, merges)
    except Exception as failure:  # tokenizers raises a bare Exception: a merge of unknown pieces
        raise CheckpointError(
            "does not go with merges.txt", where=where, found=str(failure).splitlines()[0]
        ) from failure
    tokenizer = Tokenizer(model)
    space = bool(settings.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (start, vocabulary[start]), True, space
    )
    mask = _special(settings, "mask_token", "<mask>")
    specials = [start, _special(settings, "pad_token", "<pad>"), end, unknown]
    tokenizer.add_special_tokens([piece for piece in specials if piece in vocabulary])
    if mask in vocabulary:
        # As a separate word it takes the space before it along, as in transformers.
        tokenizer.add_special_tokens([AddedToken(mask, lstrip=True)])
    return tokenizer


def _text(files: Files, name: str) -> str:
    try:
        return files.read(name).decode("utf-8")
    except UnicodeDecodeError as failure:
        raise CheckpointError("is not UTF-8", where=files.where / name) from failure


def _special(settings: dict[str, Any], name: str, usual: str) -> str:
    value = settings.get(name, usual)
    if isinstance(value, dict):
        value = value.get("content", usual)
    return str(value or usual)
