"""Findings and mendings on tables whose faults are known row by row; splits against scikit-learn's properties."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from llmkit import shelf
from llmkit.jobs import Cancelled, DirectReport
from llmkit.tokens import Tokenizer
from llmkit.tune.data import lengths, prepared, source, split
from llmkit.tune.data.checks import Finding, check, normalise, token_lengths
from llmkit.tune.data.columns import Columns, guess_columns, guess_threshold, labels_of
from llmkit.tune.data.dataset import Table, from_box, read_table
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.mend import MENDINGS, apply
from llmkit.tune.data.prepared import PreparedRow

BOTH = Columns(text="text", label="label")


def table_of(*rows: tuple[str, str] | tuple[str, str, str]) -> Table:
    names = ("text", "label", "split")[: len(rows[0])]
    body = "\n".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)
    return read_table(body.encode(), "a.jsonl")


def found(table: Table, columns: Columns = BOTH, **more: object) -> dict[str, Finding]:
    return {one.code: one for one in check(table, columns=columns, **more)}  # type: ignore[arg-type]


FINE = [(f"text number {at}", "pos" if at % 2 else "neg") for at in range(40)]

FAULTS: dict[str, tuple[list[tuple[str, str]], tuple[int, ...], str]] = {
    "text_empty": ([("", "pos"), ("\u200b \t", "neg")], (1, 2), "drop_empty"),
    "label_missing": ([("a", ""), ("b", "NaN"), ("c", "n/a"), ("d", "pos")], (1, 2, 3), "drop_unlabelled"),
    "label_variants": ([("a", "Pos "), ("b", "ＮＥＧ")], (1, 2), "merge_labels"),
    "blanks": ([(" a", "pos"), ("b\n", "neg"), ("c", "pos")], (1, 2), "trim"),
    "controls": ([("a\x07", "pos"), ("b\u202e", "neg"), ("👩‍👩‍👧", "pos"), ("a\tb", "neg")], (1, 2), "drop_controls"),
    "markup": ([("<b>a</b>", "pos"), ("b &amp; c", "neg"), ("1 < 2 > 0", "pos")], (1, 2), "drop_markup"),
    "mojibake": ([("trÃ¨s bien", "pos"), ("très", "pos")], (1,), "redecode"),
    "formula": ([("=1+1", "pos"), ("@x", "neg"), ("-3", "pos"), ("a=b", "neg")], (1, 2), ""),
    "duplicates": ([("same", "pos"), ("same", "pos"), ("Same", "pos")], (2,), "drop_duplicates"),
    "near_duplicates": ([("Ｓame one!", "pos"), ("same  ONE", "pos"), ("same", "pos")], (2,), "drop_near_duplicates"),
    "conflicts": ([("same", "pos"), ("other", "pos"), ("Same!", "neg")], (1, 3), "drop_conflicts"),
    "rare_class": ([("a", "odd"), ("b", "odd")], (1, 2), "drop_rare"),
    "label_long": ([("a", "x" * 1000)] * 1, (1,), ""),
}


@pytest.mark.parametrize("code", list(FAULTS))
def test_a_fault_is_found_in_its_rows_and_mended(code: str) -> None:
    rows, expected, mend = FAULTS[code]
    table = table_of(*rows, *FINE)
    one = found(table)[code]
    assert (one.rows, one.count, one.mend) == (expected, len(expected), mend)
    if mend:
        frame = apply(table, [mend], BOTH)
        assert code not in {two.code for two in check(table, frame=frame, columns=BOTH)}
        assert set(frame.index) <= set(table.frame.index)
        assert len(table.frame) == len(rows) + len(FINE)  # the table stays as it was


def test_a_clean_table_has_nothing_to_say() -> None:
    assert found(table_of(*FINE)) == {}


def test_mended_texts() -> None:
    table = table_of(("trÃ¨s <i>bien</i> &amp;lt; \x01x ", "Pos "), ("ok", "pos"), ("yes", "pos"), ("no", "neg"))
    frame = apply(table, ["redecode", "drop_controls", "drop_markup", "trim", "merge_labels"], BOTH)
    assert frame.iloc[0].tolist() == ["très  bien  < x", "pos"]


def test_one_class_many_classes_few_rows_and_none() -> None:
    assert found(table_of(*[(f"t{at}", "pos") for at in range(40)]))["one_class"].severity == "error"
    assert found(table_of(*[(f"t{at}", f"c{at}") for at in range(60)]))["too_many_classes"].count == 60
    assert found(table_of(("a", "x"), ("b", "y")))["few_rows"].count == 2
    assert "no_label_column" in found(table_of(*FINE), Columns(text="text"))
    lopsided = [(f"t{at}", "neg" if at < 3 else "pos") for at in range(60)]
    assert found(table_of(*lopsided))["imbalance"].values == {"most": "pos", "high": 57, "least": "neg", "low": 3}


def test_leaks_between_the_sources_own_parts() -> None:
    rows = [(f"text {at}", "pos" if at % 2 else "neg", "train") for at in range(40)]
    rows += [("TEXT 3!", "pos", "test"), ("new", "neg", "test"), ("text  5", "pos", "dev")]
    table = table_of(*rows)
    columns = guess_columns(table)
    assert columns == Columns(text="text", label="label", part="split")
    one = found(table, columns)["leaks"]
    assert (one.rows, one.mend) == ((4, 6), "drop_leaks")
    frame = apply(table, ["drop_leaks"], columns)
    assert "leaks" not in {two.code for two in check(table, frame=frame, columns=columns)}
    assert len(frame) == len(rows) - 2


def test_what_was_odd_about_the_file_has_rows_too() -> None:
    body = b"text,label\n" + "好看的書,正\n".encode() * 3 + "大五碼,負\n".encode("cp950") + b"a,b,c\n"
    table = read_table(body, "a.csv")
    one = found(table)
    assert one["encoding_mixed"].rows == (5,)
    assert one["ragged"].rows == (6,)
    assert list(apply(table, ["drop_foreign", "drop_ragged"], BOTH).index) == [2, 3, 4]


def test_lengths_are_the_references(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Reference

    folder = shelf.locate("gpt2-starter")
    assert folder is not None
    reference, ours = Reference.from_file(str(folder / "tokenizer.json")), Tokenizer.from_folder(folder)
    texts = ["The movie was good", "很好看 😀", "", "مرحبا", "a" * 3000, None, "The movie was good"]
    lengths = token_lengths(texts, ours)
    assert lengths == [len(reference.encode(text).ids) if text else 0 for text in texts]
    table = table_of(*[(text or "", "pos") for text in texts], *FINE)
    everything = token_lengths(table.frame["text"], ours)
    one = found(table, lengths=everything, context=256)["too_long"]
    assert (one.rows, one.mend, one.values["longest"]) == ((5,), "drop_long", max(lengths))
    assert token_lengths(["\ud800"], ours) == [len(reference.encode("?").ids)]


def test_the_job_counts_and_stops(own_home: Path, tmp_path: Path) -> None:
    name = source.keep_file("\n".join(f"text {at}" for at in range(1200)).encode(), "a.txt")
    asked = {"encoding": None, "delimiter": None, "header": None, "sheet": None}
    job = {"source": name, "reading": asked, "text": "text", "box_id": "gpt2-starter"}
    report = DirectReport(tmp_path)
    assert lengths.run(job, report) == {"rows": 1200}
    folder = shelf.locate("gpt2-starter")
    assert folder is not None
    texts = source.open_source(name).frame["text"]
    counted = np.load(tmp_path / lengths.FILE)["lengths"]
    np.testing.assert_array_equal(counted, token_lengths(texts, Tokenizer.from_folder(folder)))
    assert [said[:2] for said in report.said] == [(0, 1200), (500, 1200), (1000, 1200)]
    report.cancelled = True
    with pytest.raises(Cancelled):
        lengths.run(job, report)
    with pytest.raises(DataError, match="data_no_column"):
        lengths.run({**job, "text": "other"}, DirectReport(tmp_path))


def test_columns_and_thresholds_are_guessed() -> None:
    stars = [{"id": str(at), "body": f"a long text about {at}", "stars": at % 5 + 1} for at in range(40)]
    table = read_table("\n".join(map(json.dumps, stars)).encode(), "a.jsonl")
    columns = guess_columns(table)
    assert columns == Columns(text="body", label="stars", threshold=3.0)
    assert Counter(labels_of(table.frame, columns)) == {"positive": 16, "negative": 24}
    unnamed = read_table("".join(f"a text of row {at};{at % 2}\n" for at in range(40)).encode(), "a.csv")
    assert guess_columns(unnamed) == Columns(text="#1", label="#2")
    frame = table_of(("a", "-1.5"), ("b", "2"), ("c", "nan")).frame
    assert guess_threshold(frame["label"]) == 0.0
    assert labels_of(frame, Columns(text="text", label="label", threshold=0.0)).tolist() == [
        "negative",
        "positive",
        None,
    ]


def test_normalise_knows_width_case_and_punctuation() -> None:
    assert normalise("Ｇｏｏｄ　Film！") == normalise("good film")
    assert normalise("很好看。") == normalise("很 好 看")
    assert normalise("!!!") != normalise("???")
    assert normalise("😀") != normalise("😡")


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.0, 0.5)])
def test_classes_keep_their_shares_as_in_scikit_learn(shares: tuple[float, float, float]) -> None:
    labels = ["a"] * 700 + ["b"] * 200 + ["c"] * 100
    texts = [f"text {at} of {label}" for at, label in enumerate(labels)]
    parts = split.split(texts, labels, seed=7, shares=shares)
    ours = Counter(zip(parts, labels, strict=True))
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=shares[2], random_state=7)
    _, test = next(splitter.split(texts, labels))
    theirs = Counter(labels[at] for at in test)
    for label in "abc":
        assert abs(ours["test", label] - theirs[label]) <= 1
        assert abs(ours["validation", label] - shares[1] * labels.count(label)) <= 1
    assert all(ours["validation", label] == 0 for label in "abc") is (shares[1] == 0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=6), st.sampled_from("xyz") | st.none()), min_size=12, max_size=60),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_a_split_repeats_and_never_parts_the_same_text(rows: list[tuple[str, str | None]], seed: int, order) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    if len({normalise(text) for text in texts}) < split.FEWEST:
        with pytest.raises(DataError, match="data_too_few"):
            split.split(texts, labels, seed=seed)
        return
    parts = split.split(texts, labels, seed=seed)
    side: dict[str, set[str]] = {}
    for text, part in zip(texts, parts, strict=True):
        side.setdefault(normalise(text), set()).add(part)
    assert all(len(where) == 1 for where in side.values())
    assert parts == split.split(texts, labels, seed=seed)
    assert "train" in parts


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    texts = [f"text {at}" for at in range(500)]
    labels = ["p" if at % 3 else "n" for at in range(500)]
    parts = split.split(texts, labels, seed=1)
    back = split.split(texts[::-1], labels[::-1], seed=1)
    assert parts == back[::-1]
    other = split.split(texts, labels, seed=2)
    moved = np.mean([one != two for one, two in zip(parts, other, strict=True)])
    assert 0.25 < moved < 0.45  # 1 - (0.8² + 0.1² + 0.1²) = 0.34 where nothing is kept
    assert Counter(parts) == Counter(other)


def test_small_classes_reach_every_part() -> None:
    texts = [f"text {at}" for at in range(46)]
    labels = ["big"] * 40 + ["three"] * 3 + ["two"] * 2 + ["one"]
    seen = Counter(zip(labels, split.split(texts, labels, seed=3), strict=True))
    assert all(seen["three", part] == 1 for part in split.PARTS)
    assert (seen["two", "train"], seen["two", "test"], seen["one", "train"]) == (1, 1, 1)
    with pytest.raises(ValueError, match="add up"):
        split.split(texts, labels, seed=1, shares=(0.8, 0.1, 0.2))


def prepared_rows(n: int = 20, salt: str = "") -> list[PreparedRow]:
    return [
        PreparedRow(
            text=f"text {at}{salt} =1\u2028\ud83d", label="pos" if at % 2 else None, part=split.PARTS[at % 3], row=at
        )
        for at in range(n)
    ]


def keep(rows: list[PreparedRow], name: str = "My file.csv") -> prepared.About:
    more = {"text": "t", "label": None, "threshold": None, "mendings": ("trim",), "seed": 3, "shares": (0.8, 0.1, 0.1)}
    return prepared.keep(rows, name=name, **more)  # type: ignore[arg-type]


def test_a_prepared_set_comes_back_and_goes(own_home: Path) -> None:
    about = keep(prepared_rows())
    assert prepared.prepared() == (about,)
    opened = prepared.open_prepared(about.id)
    assert [row.text for row in opened.rows] == [row.text.replace("\ud83d", "?") for row in prepared_rows()]
    assert [row.label for row in opened.rows] == [row.label for row in prepared_rows()]
    assert sum(len(opened.part(part)) for part in split.PARTS) == about.rows == 20
    assert about.counts["train"] == {"": 4, "pos": 3}
    assert keep(prepared_rows()) == about  # the same rows are the same set
    other = keep(prepared_rows(salt="!"), name="../../評論")
    assert other.id.startswith("data-")
    assert {one.id for one in prepared.prepared()} == {about.id, other.id}
    prepared.remove(about.id)
    assert prepared.prepared() == (other,)
    with pytest.raises(DataError, match="data_missing"):
        prepared.open_prepared(about.id)
    assert not [path for path in (own_home / "data").iterdir() if path.name.startswith(".staging")]


@pytest.mark.parametrize("set_id", ["../x", "", "a/b", ".files", "A", "x" * 99, "..", "no-such"])
def test_no_name_leads_out_of_the_store(own_home: Path, set_id: str) -> None:
    with pytest.raises(DataError, match="data_missing"):
        prepared.open_prepared(set_id)


def test_damage_is_said_and_half_a_set_is_none(own_home: Path) -> None:
    about = keep(prepared_rows())
    rows = own_home / "data" / about.id / prepared.ROWS
    rows.write_bytes(rows.read_bytes().replace(b"text 1", b"text 9"))
    with pytest.raises(DataError, match="data_damaged"):
        prepared.open_prepared(about.id)
    rows.write_bytes(b"{}")
    assert prepared.prepared() == ()
    (own_home / "data" / "junk").mkdir()
    (own_home / "data" / "junk" / prepared.ABOUT).write_text("[]")
    assert prepared.prepared() == ()
    assert keep(prepared_rows()).rows == 20  # a broken one of the same name is replaced
    assert len(prepared.prepared()) == 1


def test_the_shelf_is_bounded(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MAX_SETS", 2)
    keep(prepared_rows(salt="a"))
    keep(prepared_rows(salt="b"))
    with pytest.raises(DataError, match="data_shelf_full"):
        keep(prepared_rows(salt="c"))
    assert keep(prepared_rows(salt="a")).rows == 20
    with pytest.raises(DataError, match="data_empty"):
        keep([])
    monkeypatch.setattr(prepared, "MAX_SET_BYTES", 100)
    with pytest.raises(DataError, match="data_too_big"):
        keep(prepared_rows(salt="d"))


def test_kept_files_are_found_again_and_the_oldest_go(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [source.keep_file(b"text\nfile %d\n" % at, "a.csv") for at in range(3)]
    assert source.open_source(names[0]).frame["text"].tolist() == ["file 0"]
    assert source.fingerprint(names[0]) == names[0]
    assert source.keep_file(b"text\nfile 1\n", "a.csv") == names[1]
    monkeypatch.setattr(source, "MAX_FILES", 1)
    last = source.keep_file(b"text\nfile 9\n", "a.csv")
    assert source.open_source(last).frame["text"].tolist() == ["file 9"]
    assert source.fingerprint(names[0]) == ""
    with pytest.raises(DataError, match="data_missing"):
        source.open_source(names[0])
    with pytest.raises(shelf.ShelfError):
        source.open_source("file:../../etc/passwd")
    source.forget_file(last)
    source.forget_file("reviews-en")
    assert source.fingerprint(last) == ""


@pytest.mark.registry
def test_the_review_boxes_end_clean(standard_kit: tuple[str, ...]) -> None:
    """Mended by every finding's own mending, nothing is left to mend; no text lies on two sides."""
    for box_id in ("reviews-en", "reviews-zh-tw"):
        table = from_box(box_id)
        columns = guess_columns(table)
        assert columns == Columns(text="text", label="rating", threshold=0.0)
        done: list[str] = []
        for _ in range(12):
            frame = apply(table, done, columns)
            mends = [one.mend for one in check(table, frame=frame, columns=columns) if one.mend]
            if not mends:
                break
            done.append(mends[0])
        assert not mends
        assert set(done) <= set(MENDINGS)
        keys = [normalise(text) for text in frame["text"]]
        assert len(set(keys)) == len(keys)
