"""Our tokenizers against the ``tokenizers`` library, on small ones that are trained here: no download."""

import json
import string
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken as ReferenceToken
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

from llmkit.tokens import Tokenizer, TokenizerError
from llmkit.tokens.byte_level_bpe import BYTE_TO_SYMBOL, GPT2_PATTERN, QWEN_PATTERN, to_bytes, to_symbols
from llmkit.tokens.normalise import compose
from llmkit.tokens.wordpiece import BertNormaliser, is_punctuation

TRAINING = [
    "The movie was better than I'd hoped; they're re-releasing it on 12/24/2026 for $9.99!",
    "這本書讀起來很順,翻譯也好,我會再買一本送給朋友。",
    "春眠不覺曉,處處聞啼鳥。夜來風雨聲,花落知多少。",
    "Ça va? Où est l'été? Größe, naïve façade, Ünlü İstanbul, ΑΒΓΔ Σίσυφος, Привет, мир!",
    "שלום עולם مرحبا بالعالم नमस्ते สวัสดี こんにちは 안녕하세요 👩‍👩‍👧‍👦 👍🏽 🇹🇼",
    "if x == 1:\n    return {'a': [1, 2, 3]}\r\n\t# done   \n\n\n",
    "<b>bold</b> &amp; <script>alert(1)</script> https://example.org/?q=1&r=2",
] * 3

NASTY = [
    "",
    " ",
    "   leading and trailing   ",
    "a\r\nb\r\n\r\nc",
    " \t\n" * 200,
    " " * 3000 + "x",
    "👩‍👩‍👧‍👦👍🏽🇹🇼🏳️‍🌈",
    "ابجد هوز שלום",
    "\u200b\u200c\u200d\u2060\ufeff",
    "\x00\x01\x07\x1b[0m\x7f\x85\x1c",
    "\u0301\u0302 e\u0301\u0323 \u0323\u0301",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "[CLS] [MASK] <|im_start|>user\n hi<|im_end|> <mask>  ",
    "İIıi ẞß ΣΑΣ ﬁ Å 한국어 각 が",
    "\ufffd \U000e0041 \uf8ff \u2028\u2029\u00a0\u3000",
    "''' don't DON'T 'Re 's",
    "1234567890 ٣٤٥ ⅷ ½ ²",
    "x" * 101 + " " + "x" * 100,
]


def save(reference: Reference, folder: Path) -> Path:
    folder.mkdir(parents=True)
    reference.save(str(folder / "tokenizer.json"))
    return folder


def byte_level(cut: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None) -> Reference:
    reference = Reference(models.BPE())
    reference.pre_tokenizer = cut
    reference.decoder = decoders.ByteLevel()
    if normalizer is not None:
        reference.normalizer = normalizer
    reference.train_from_iterator(
        TRAINING,
        trainers.BpeTrainer(
            vocab_size=600,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            show_progress=False,
        ),
    )
    return reference


def gpt2() -> Reference:
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def gpt2_with_prefix_space() -> Reference:
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))


def smollm2() -> Reference:
    return byte_level(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    )


def qwen() -> Reference:
    return byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        normalizers.NFC(),
    )


def added_tokens() -> Reference:
    reference = gpt2()
    reference.add_tokens(
        [
            ReferenceToken("<mask>", lstrip=True, rstrip=False, normalized=False, special=True),
            ReferenceToken("<end>", lstrip=False, rstrip=True, normalized=False, special=True),
            ReferenceToken("word", single_word=True, normalized=False),
            ReferenceToken("wordy", normalized=False),
        ]
    )
    return reference


def bert(**normaliser: bool) -> Reference:
    reference = Reference(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    reference.normalizer = normalizers.BertNormalizer(**normaliser)
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    reference.train_from_iterator(
        TRAINING, trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    )
    reference.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return reference


def bert_cased() -> Reference:
    return bert(lowercase=False, strip_accents=False, clean_text=True, handle_chinese_chars=False)


def bert_with_normalised_token() -> Reference:
    reference = bert()
    reference.add_tokens([ReferenceToken("New Zealand", normalized=True)])
    return reference


KINDS = [
    gpt2,
    gpt2_with_prefix_space,
    smollm2,
    qwen,
    added_tokens,
    bert,
    bert_cased,
    bert_with_normalised_token,
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, Tokenizer]:
    reference = request.param()
    folder = save(reference, tmp_path_factory.mktemp("boxes") / request.param.__name__)
    return reference, Tokenizer.from_folder(folder)


def known_to_both() -> str:
    """Every character that the reference's older tables and Python's sort alike."""
    theirs = normalizers.BertNormalizer()
    ours = BertNormaliser()
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(" ".join(f"a{c}a" for c in assigned if not c.isspace()))
    punctuation = {word for word, _ in words if len(word) == 1 and word != "a"}
    return "".join(
        c for c in assigned if theirs.normalize_str(c) == ours(c).text and (c in punctuation) == is_punctuation(c)
    )


ALIKE = known_to_both()
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet=st.sampled_from(ALIKE), max_size=12),
        st.text(alphabet=string.printable, max_size=20),
        st.sampled_from(NASTY),
        st.sampled_from(TRAINING),
        st.sampled_from([" <mask>  ", "<end>\n ", "word", "wordy", "New Zealand", "new zealand", "<|im_end|>"]),
    ),
    max_size=6,
).map("".join)


def assert_alike(reference: Reference, ours: Tokenizer, text: str) -> None:
    theirs = reference.encode(text)
    encoding = ours.encode(text)
    assert encoding.ids == tuple(theirs.ids)
    assert encoding.pieces == tuple(reference.id_to_token(token_id) for token_id in theirs.ids)
    assert encoding.word_ids == tuple(theirs.word_ids)
    if unicodedata.is_normalized("NFC", text) and not ours.prefix_space:
        # The reference gives the blank that was put in front the first character's span.
        assert encoding.offsets == tuple(theirs.offsets)
    plain = ours.encode(text, specials=False)
    assert plain.ids == tuple(reference.encode(text, add_special_tokens=False).ids)
    assert ours.decode(encoding.ids) == reference.decode(theirs.ids)
    assert ours.decode(encoding.ids, skip_specials=False) == reference.decode(theirs.ids, skip_special_tokens=False)


@pytest.mark.parametrize("text", NASTY + TRAINING[:7])
def test_agrees_with_the_reference_on_hard_texts(pair: tuple[Reference, Tokenizer], text: str) -> None:
    assert_alike(*pair, text)


@given(text=TEXTS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_agrees_with_the_reference_on_any_text(pair: tuple[Reference, Tokenizer], text: str) -> None:
    assert_alike(*pair, text)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_encoding_holds_together(pair: tuple[Reference, Tokenizer], text: str) -> None:
    _, ours = pair
    encoding = ours.encode(text)
    assert [i for a, b in encoding.groups for i in range(a, b)] == list(range(len(encoding)))
    assert all(0 <= a <= b <= len(text) for a, b in encoding.offsets)
    assert all(label and "\ufffd" not in label and label.isprintable() for label in encoding.labels if label)
    inside = [(start, end) for start, end in encoding.offsets if start < end]
    assert all(now[0] <= after[0] and now[1] <= after[1] for now, after in pairwise(inside))
    firsts = {a for a, _ in encoding.groups}
    for at in range(1, len(encoding)):
        (_, end), (start, stop) = encoding.offsets[at - 1 : at + 1]
        assert (at not in firsts) == (start < end and start < stop)
    if ours.kind == "byte_level_bpe" and not ours.prefix_space and unicodedata.is_normalized("NFC", text):
        kept = [data for data, (a, b) in zip(encoding.token_bytes, encoding.offsets, strict=True) if a < b]
        if not any(token.lstrip or token.rstrip for token in ours.added):
            assert b"".join(kept).decode() == text


@pytest.mark.parametrize("unit", ["a", "好", "😀", " ", "\u0301", "x1 ", "</script>"])
def test_a_hundred_thousand_characters(pair: tuple[Reference, Tokenizer], unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    reference, ours = pair
    begin = time.perf_counter()
    ids = ours.encode(text).ids
    assert time.perf_counter() - begin < 30
    assert ids == tuple(reference.encode(text).ids)


def test_a_byte_without_a_token_is_dropped_as_the_reference_drops_it(tmp_path: Path) -> None:
    reference = gpt2()
    spec = json.loads(reference.to_str())
    for byte in (0x04, 0x13):
        del spec["model"]["vocab"][BYTE_TO_SYMBOL[byte]]
    reference = Reference.from_str(json.dumps(spec))
    ours = Tokenizer.from_folder(save(reference, tmp_path / "box"))
    for text in ("a\x04b", "\x04\x13", "th\x04e movie\x13", "\x04好"):
        assert ours.encode(text).ids == tuple(reference.encode(text).ids)
        assert ours.encode(text).pieces == tuple(reference.encode(text).tokens)


def test_a_word_that_the_vocabulary_holds_is_taken_whole_where_the_box_says_so(tmp_path: Path) -> None:
    spec = json.loads(gpt2().to_str())
    spec["model"]["ignore_merges"] = True
    spec["model"]["vocab"]["qzqz"] = 100_000
    reference = Reference.from_str(json.dumps(spec))
    ours = Tokenizer.from_folder(save(reference, tmp_path / "box"))
    assert ours.encode("qzqz qzq").ids == tuple(reference.encode("qzqz qzq").ids)
    assert ours.encode("qzqz").ids == (100_000,)


def test_merge_steps_end_in_the_tokens_and_name_each_rank(tmp_path: Path) -> None:
    reference = gpt2()
    ours = Tokenizer.from_folder(save(reference, tmp_path / "box"))
    merges = json.loads(reference.to_str())["model"]["merges"]
    for text in (" movie", "好", "aaaa", " better", "x"):
        states = ours.model.merge_steps(text.encode())
        assert states[0].pieces == tuple(to_symbols(text.encode()))
        assert states[0].merge is None
        assert states[-1].pieces == tuple(reference.encode(text, add_special_tokens=False).tokens)
        for before, now in pairwise(states):
            assert merges[now.merge.rank] == [now.merge.left, now.merge.right]
            at = now.merged_index
            assert before.pieces[at : at + 2] == (now.merge.left, now.merge.right)
            joined = (now.merge.left + now.merge.right,)
            assert now.pieces == before.pieces[:at] + joined + before.pieces[at + 2 :]
            ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
            waiting = [ranks[pair] for pair in pairwise(before.pieces) if pair in ranks]
            assert now.merge.rank == min(waiting)


def test_match_steps_take_the_longest_piece_first(tmp_path: Path) -> None:
    reference = bert()
    ours = Tokenizer.from_folder(save(reference, tmp_path / "box"))
    for word in ("movie", "moviemovie", "releasing", "hoped"):
        tries = ours.model.match_steps(word)
        found = [t.piece for t in tries if t.found]
        assert found == reference.encode(word, add_special_tokens=False).tokens
        for t in tries:
            assert t.found == (reference.token_to_id(t.piece) is not None)
    assert ours.model.match_steps("x" * 101) == []


def test_words_are_what_encode_cuts(pair: tuple[Reference, Tokenizer]) -> None:
    _, ours = pair
    for text in NASTY[:12] + TRAINING[:7]:
        encoding = ours.encode(text, specials=False)
        for word_id, word in ours.words(text):
            cuts = ours.model.cut(word.encode() if ours.kind == "byte_level_bpe" else word)
            mine = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == word_id]
            assert [cut.token_id for cut in cuts] == mine


def test_the_byte_alphabet_is_the_reference_s() -> None:
    assert sorted(BYTE_TO_SYMBOL.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert to_bytes(to_symbols(bytes(range(256)))) == bytes(range(256))


def test_the_tables_differ_only_in_characters_that_the_reference_is_too_old_for() -> None:
    everyday = [*range(0x20, 0x600), *range(0x2000, 0x2E40), *range(0x3000, 0xA000), *range(0xAC00, 0xD7A4)]
    everyday += [*range(0xF900, 0xFFFE), *range(0x1F000, 0x1FAF0)]
    known = set(ALIKE)
    missing = [c for c in everyday if unicodedata.category(chr(c)) not in ("Cn", "Co") and chr(c) not in known]
    assert missing == []


@given(text=st.text(alphabet=st.sampled_from(ALIKE), max_size=30))
def test_composing_in_chunks_is_normal_form_c(text: str) -> None:
    aligned = compose(text)
    assert aligned.text == unicodedata.normalize("NFC", text)
    for char, start, end in zip(aligned.text, aligned.starts, aligned.ends, strict=True):
        assert char in unicodedata.normalize("NFC", text[start:end])


def test_gpt2_pattern_is_the_reference_s_own() -> None:
    ours = pre_tokenizers.Split(Regex(GPT2_PATTERN), "isolated")
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in TRAINING:
        assert [span for _, span in ours.pre_tokenize_str(text)] == [span for _, span in theirs.pre_tokenize_str(text)]


def unigram() -> Reference:
    return Reference(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0, byte_fallback=False))


def sentencepiece_bpe() -> Reference:
    return Reference(models.BPE(vocab={"<unk>": 0, "a": 1}, merges=[], unk_token="<unk>", byte_fallback=True))


def word_level() -> Reference:
    return Reference(models.WordLevel({"a": 0}, unk_token="a"))


def bpe_without_bytes() -> Reference:
    reference = Reference(models.BPE(vocab={"a": 0}, merges=[]))
    reference.pre_tokenizer = pre_tokenizers.Whitespace()
    return reference


def bpe_with_other_normaliser() -> Reference:
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFKC())


@pytest.mark.parametrize("kind", [unigram, sentencepiece_bpe, word_level, bpe_without_bytes, bpe_with_other_normaliser])
def test_a_kind_that_is_not_built_here_says_so(kind, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_folder(save(kind(), tmp_path / "box"))
    assert caught.value.code == "tokenizer_unsupported"


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_folder(tmp_path)
    assert caught.value.code == "tokenizer_missing"
    assert str(tmp_path.parent) not in str(caught.value)


BROKEN = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"{}",
    b'{"model": {"type": "BPE"}}',
    b'{"model": {"type": "WordPiece"}}',
    b"3",
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_folder(tmp_path)
    assert caught.value.code in ("tokenizer_broken", "tokenizer_unsupported")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_says_so(part: float, tmp_path: Path) -> None:
    content = bert().to_str()
    (tmp_path / "tokenizer.json").write_text(content[: int(len(content) * part)])
    with pytest.raises(TokenizerError):
        Tokenizer.from_folder(tmp_path)


def test_a_lone_surrogate_says_so(pair: tuple[Reference, Tokenizer]) -> None:
    for call in (pair[1].encode, pair[1].words):
        with pytest.raises(TokenizerError) as caught:
            call("ok \ud800")
        assert caught.value.code == "text_not_unicode"
