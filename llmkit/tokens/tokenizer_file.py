"""Read a ``tokenizer.json``, the file of the ``tokenizers`` library, or say what does not fit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import regex

from llmkit.tokens.byte_level_bpe import GPT2_PATTERN, SYMBOL_TO_BYTE, ByteLevelBPE
from llmkit.tokens.errors import TokenizerError
from llmkit.tokens.normalise import Normaliser, compose, keep
from llmkit.tokens.pretokenise import PreTokeniser, one_after_another, split_by, split_digits, whole
from llmkit.tokens.tokenizer import AddedToken, Tokenizer
from llmkit.tokens.wordpiece import BertNormaliser, WordPiece, split_words

Spec = Mapping[str, Any]


def read_tokenizer(path: Path) -> Tokenizer:
    """Open one file. Truncation and padding in it are left aside: a text is encoded as long as it is.

    Args:
        path: a ``tokenizer.json``.

    Raises:
        TokenizerError: ``tokenizer_missing``, ``tokenizer_broken`` or ``tokenizer_unsupported``.
    """
    try:
        spec = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise TokenizerError("tokenizer_missing", f"there is no {path.name} in {path.parent.name}") from error
    except (OSError, ValueError) as error:
        raise TokenizerError("tokenizer_broken", f"{path.name}: {error}") from error
    try:
        return _assemble(spec)
    except (KeyError, TypeError, IndexError, AttributeError, regex.error) as error:
        raise TokenizerError("tokenizer_broken", f"{path.name}: {type(error).__name__}: {error}") from error


def _assemble(spec: Spec) -> Tokenizer:
    model = _model(spec["model"])
    pretokeniser, prefix_space = _pretokeniser(spec.get("pre_tokenizer"), model)
    added = tuple(
        AddedToken(token_id=token["id"], **{key: token[key] for key in token if key != "id"})
        for token in spec.get("added_tokens") or ()
    )
    before, after = _around(spec.get("post_processor"))
    known = set(model.vocab.values()) | {token.token_id for token in added}
    if not known.issuperset(before + after):
        raise TokenizerError("tokenizer_broken", "the post-processor names a token that is not there")
    return Tokenizer(
        model=model,
        normaliser=_normaliser(spec.get("normalizer")),
        pretokeniser=pretokeniser,
        prefix_space=prefix_space,
        added=added,
        before=before,
        after=after,
        cleanup=(spec.get("decoder") or {}).get("cleanup", True),
    )


def _unsupported(what: str, kind: object) -> TokenizerError:
    return TokenizerError("tokenizer_unsupported", f"{what} {kind!r}")


def _model(spec: Spec) -> ByteLevelBPE | WordPiece:
    kind = spec.get("type")
    if kind == "WordPiece":
        vocab = dict(spec["vocab"])
        if spec["unk_token"] not in vocab:
            raise TokenizerError("tokenizer_broken", f"{spec['unk_token']} is not in the vocabulary")
        return WordPiece(
            vocab=vocab,
            unk_token=spec["unk_token"],
            prefix=spec["continuing_subword_prefix"],
            max_word_chars=spec["max_input_chars_per_word"],
        )
    if kind != "BPE":
        raise _unsupported("model", kind)
    for option in ("byte_fallback", "fuse_unk", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if spec.get(option):
            raise _unsupported("BPE with", option)
    vocab = dict(spec["vocab"])
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in spec["merges"]]
    for left, right in pairs:
        if not (left in vocab and right in vocab and left + right in vocab):
            raise TokenizerError("tokenizer_broken", f"merge of {left!r} and {right!r} is not in the vocabulary")
    return ByteLevelBPE(
        vocab=vocab,
        ranks={(left, right): rank for rank, (left, right) in enumerate(pairs)},
        unk_token=spec.get("unk_token"),
        ignore_merges=bool(spec.get("ignore_merges")),
    )


def _normaliser(spec: Spec | None) -> Normaliser:
    match spec:
        case None:
            return keep
        case {"type": "NFC"}:
            return compose
        case {"type": "BertNormalizer"}:
            return BertNormaliser(**{key: spec[key] for key in spec if key != "type"})
        case {"type": "Sequence", "normalizers": [only]}:
            return _normaliser(only)
    raise _unsupported("normalizer", spec.get("type"))


def _pretokeniser(spec: Spec | None, model: ByteLevelBPE | WordPiece) -> tuple[PreTokeniser, bool]:
    """How words are made, and whether a blank is put in front."""
    steps: list[Spec] = [] if spec is None else spec["pretokenizers"] if spec["type"] == "Sequence" else [spec]
    if isinstance(model, WordPiece):
        if [step["type"] for step in steps] != ["BertPreTokenizer"]:
            raise _unsupported("WordPiece with pre-tokenizer", (spec or {}).get("type"))
        return split_words, False
    if not steps or steps[-1]["type"] != "ByteLevel" or not set(SYMBOL_TO_BYTE) & set(model.vocab):
        raise _unsupported("BPE with pre-tokenizer", (spec or {}).get("type"))
    prefix_space = bool(steps[-1]["add_prefix_space"])
    if prefix_space and len(steps) > 1:
        raise _unsupported("ByteLevel after other cuts with", "add_prefix_space")
    return one_after_another([_cut(step) for step in steps]), prefix_space


def _cut(step: Spec) -> PreTokeniser:
    match step:
        case {"type": "ByteLevel"}:
            return split_by(GPT2_PATTERN) if step.get("use_regex", True) else whole
        case {"type": "Digits"}:
            return split_digits(individual=step["individual_digits"])
        case {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": pattern}}:
            return split_by(pattern)
        case {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"String": text}}:
            return split_by(regex.escape(text))
    raise _unsupported("pre-tokenizer", step.get("type"))


def _around(spec: Spec | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that are put before and after a single text."""
    match spec:
        case None | {"type": "ByteLevel"}:
            return (), ()
        case {"type": "BertProcessing", "cls": [_, cls], "sep": [_, sep]}:
            return (cls,), (sep,)
        case {"type": "Sequence", "processors": processors}:
            before: tuple[int, ...] = ()
            after: tuple[int, ...] = ()
            for processor in processors:
                first, last = _around(processor)
                before, after = first + before, after + last
            return before, after
        case {"type": "TemplateProcessing", "single": parts}:
            sequence = next(at for at, part in enumerate(parts) if "Sequence" in part)
            before, after = [
                tuple(i for part in side for i in spec["special_tokens"][part["SpecialToken"]["id"]]["ids"])
                for side in (parts[:sequence], parts[sequence + 1 :])
            ]
            return before, after
    raise _unsupported("post-processor", spec.get("type"))
