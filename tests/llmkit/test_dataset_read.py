"""Reading a learner's file: every kind, every encoding, and everything that is no table; pandas is the reference."""

from __future__ import annotations

import csv
import datetime
import io
import json
import pickle
import zipfile
from contextlib import suppress

import charset_normalizer
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.tune.data import dataset, read_excel, read_parquet
from llmkit.tune.data.dataset import Table, read_table, unique_names
from llmkit.tune.data.encoding import CODECS, decode
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.safe_cell import safe_cell, write_csv

ROWS = [
    ("這本書很好看，我很喜歡。", "正面"),
    ("服務態度很差，再也不會來了！", "負面"),
    ("普通", "正面"),
    ("不推薦", "負面"),
]
CHINA = [
    ("这本书很好看，我很喜欢。", "正面"),
    ("服务态度很差，再也不会来了！", "负面"),
    ("一般", "正面"),
    ("不推荐", "负面"),
]
FRENCH = [("Un très beau film, à voir", "positif"), ("déçu par la fin, c'était long", "négatif"), ("ça va", "positif")]
TEXTS = {"Big5": ROWS, "GB18030": CHINA, "Latin-1": FRENCH}


def as_csv(rows: list[tuple[str, str]], header: tuple[str, str] | None = ("text", "label"), sign: str = ",") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=sign).writerows([*([header] if header else []), *rows])
    return out.getvalue()


def cells(table: Table) -> list[tuple[object, ...]]:
    return [tuple(row) for row in table.frame.itertuples(index=False)]


def code_of(content: bytes, name: str, **how: object) -> tuple[str, dict[str, object]]:
    with pytest.raises(DataError) as raised:
        read_table(content, name, **how)  # type: ignore[arg-type]
    return raised.value.code, raised.value.values


def excel(*sheets: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for at, rows in enumerate(sheets, start=1):
        sheet = book.create_sheet(f"sheet {at}")
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("sign", [",", "\t", ";", "|"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp950"])
def test_chinese_in_any_dress(codec: str, sign: str) -> None:
    table = read_table(as_csv(ROWS, sign=sign).encode(codec), "a.csv")
    assert cells(table) == ROWS
    assert table.columns == ("text", "label")
    assert list(table.frame.index) == [2, 3, 4, 5]
    assert (table.delimiter, table.header) == (sign, True)
    assert table.encoding == {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "cp950": "Big5"}.get(codec, "UTF-16")


@pytest.mark.parametrize("name", list(TEXTS))
def test_legacy_encodings_are_told_apart(name: str) -> None:
    content = as_csv(TEXTS[name]).encode(CODECS[name])
    table = read_table(content, "a.csv")
    assert cells(table) == TEXTS[name]
    assert table.encoding == name
    assert table.sure > 0.6
    best = charset_normalizer.from_bytes(as_csv(TEXTS[name] * 40).encode(CODECS[name])).best()
    assert best is not None
    assert decode(as_csv(TEXTS[name] * 40).encode(CODECS[name])).text == as_csv(TEXTS[name] * 40)


@pytest.mark.registry
def test_real_reviews_in_big5_and_gb18030(standard_kit: tuple[str, ...]) -> None:
    from opencc import OpenCC

    text = "\n".join(dataset.from_box("reviews-zh-tw").frame["text"].iloc[:3000])
    big5 = text.encode("cp950", errors="ignore")
    assert (decode(big5).encoding, decode(big5).text) == ("Big5", big5.decode("cp950"))
    simple = OpenCC("t2s").convert(text)
    found = decode(simple.encode("gb18030"))
    assert (found.encoding, found.text) == ("GB18030", simple)
    assert min(decode(big5).sure, found.sure) > 0.9


def test_two_encodings_in_one_file_are_named_by_row() -> None:
    lines = [f"{text},{label}\r\n".encode() for text, label in ROWS * 3]
    lines[5] = "這一列是大五碼寫的,負面\r\n".encode("cp950")
    table = read_table(b"text,label\r\n" + b"".join(lines), "a.csv")
    assert table.encoding == "UTF-8"
    assert table.otherwise == {7: "Big5"}
    assert table.frame.loc[7, "text"] == "這一列是大五碼寫的"
    broken = read_table(b"text,label\n" + "好,正\n".encode() * 5 + b"\xff\xff\xfe,x\n", "a.csv")
    assert broken.undecodable == (7,) or broken.otherwise == {7: "Latin-1"}


def test_rows_of_another_encoding_below_a_quoted_newline_keep_their_number() -> None:
    body = b'text,label\n"first\nline",pos\n' + "很好看,pos\n".encode() * 2 + "大五碼,neg\n".encode("cp950")
    table = read_table(body, "a.csv")
    assert list(table.frame.index) == [2, 3, 4, 5]
    assert list(table.otherwise) == [5]
    assert table.frame.loc[2, "text"] == "first\nline"


def test_an_encoding_that_was_asked_for() -> None:
    assert cells(read_table(as_csv(ROWS).encode("cp950"), "a.csv", encoding="Big5")) == ROWS
    code, values = code_of(as_csv(ROWS).encode("cp950"), "a.csv", encoding="UTF-8")
    assert (code, values["row"]) == ("data_encoding", 2)
    assert code_of(b"\xff\xfea", "a.csv")[0] == "data_encoding"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            *[st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\x1f", exclude_categories=["Cc"]))] * 2
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_csv_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    table = (
        read_table(as_csv(rows).encode(), "a.csv", delimiter=",", header=True)
        if any("".join(row).strip() for row in rows)
        else None
    )
    filled = [row for row in rows if "".join(row).strip()]
    assert (cells(table) if table is not None else []) == filled


def test_pandas_reads_the_same() -> None:
    tricky = [('a "quoted" word', "1"), ("two\nlines, one cell", "2"), ("trailing ", "3"), ("émoji 😀", "4")]
    body = as_csv(tricky).encode()
    theirs = pd.read_csv(io.BytesIO(body), dtype=str, keep_default_na=False)
    ours = read_table(body, "a.csv")
    assert cells(ours) == [tuple(row) for row in theirs.itertuples(index=False)]


def test_blank_and_ragged_rows_keep_their_numbers() -> None:
    table = read_table(b"text,label\n\ngood,1\nbad\nso,so,2\n\nfine,1\nnice,1\n", "a.csv")
    assert list(table.frame.index) == [3, 4, 5, 7, 8]
    assert table.ragged == (4, 5)
    assert cells(table)[1] == ("bad", None)


def test_lines_of_prose_are_one_text_each() -> None:
    prose = 'Well, I liked it, mostly.\n"Great" he said; it was.\nNo.\nOne, two, three, and four\n'
    for name in ("a.txt", "pasted"):
        table = read_table(prose.encode(), name)
        assert table.columns == ("text",)
        assert len(table) == 4
        assert table.frame.iloc[0, 0] == "Well, I liked it, mostly."


def test_a_column_of_prose_with_its_name() -> None:
    table = read_table(b"review\nWell, I liked it\nNo\nSo, so, so\n", "a.csv")
    assert table.columns == ("review",)
    assert len(table) == 3


def test_json_lines_and_lists() -> None:
    values = [{"text": "a\u2028b", "label": 1}, {"text": "é", "stars": 4.5}, {"text": None, "label": float("nan")}]
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    table = read_table(lines.encode() + b"\n[1,2]\nnot json\n", "a.jsonl")
    assert table.columns == ("text", "label", "stars")
    assert cells(table) == [("a\u2028b", "1", None), ("é", None, "4.5"), (None, None, None)]
    assert table.unreadable == (4, 5)
    assert table.format == "jsonl"
    assert cells(read_table(json.dumps(values[:2]).encode(), "a.json")) == cells(table)[:2]
    assert code_of(b"{]\n{]\n", "a.jsonl")[0] == "data_not_table"
    assert code_of(b"[" * 100_000, "a.json")[0] == "data_broken"


def test_half_a_character_in_json_is_a_sign_for_a_lost_one() -> None:
    line = json.dumps({"te\ud800xt": "a\udfff b", "label": "\ud800", "more": ["\ud800"]}).encode()
    for content, name in ((line + b"\n" + line, "a.jsonl"), (b"[" + line + b"," + line + b"]", "a.json")):
        table = read_table(content, name)
        assert list(table.frame.columns) == ["te?xt", "label", "more"]
        assert table.frame.iloc[0].tolist() == ["a? b", "?", '["?"]']


def test_excel_as_pandas_reads_it() -> None:
    day = datetime.datetime(2026, 11, 24)
    content = excel([], [["text", "label"], ["好", 1], ["=1+1", 2.5], [None, True], [day, "#N/A"]], [["other"]])
    table = read_table(content, "a.xlsx")
    assert (table.sheets, table.sheet) == (("sheet 1", "sheet 2", "sheet 3"), "sheet 2")
    assert cells(table) == [("好", "1"), (None, "2.5"), (None, "true"), ("2026-11-24T00:00:00", None)]
    theirs = pd.read_excel(io.BytesIO(content), sheet_name="sheet 2")
    assert theirs["text"].iloc[0] == "好"
    assert list(table.frame.index) == [2, 3, 4, 5]
    assert read_table(content, "a.xlsx", sheet="sheet 3").frame.iloc[0, 0] == "other"
    assert code_of(excel([], []), "a.xlsx")[0] == "data_empty"


def test_parquet_as_pandas_reads_it() -> None:
    frame = pd.DataFrame({"text": ["好", "a,b", None], "label": [1, 0, 1], "tags": [["x"], [], None]})
    out = io.BytesIO()
    frame.to_parquet(out)
    table = read_table(out.getvalue(), "whatever")
    assert cells(table) == [("好", "1", '["x"]'), ("a,b", "0", "[]"), (None, "1", None)]


def test_a_parquet_file_of_one_huge_repeated_cell_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    pd.DataFrame({"text": ["x" * 10_000] * 20_000}).to_parquet(out)
    assert len(out.getvalue()) < 100_000
    monkeypatch.setattr(read_parquet, "MAX_UNPACKED", 50_000_000)
    assert code_of(out.getvalue(), "a.parquet")[0] == "data_bomb"


def test_an_excel_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 5_000_000)
    monkeypatch.setattr(read_excel, "MAX_UNPACKED", 1_000_000)
    assert code_of(out.getvalue(), "a.xlsx")[0] == "data_bomb"


def test_entities_in_excel_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", '<!DOCTYPE x [<!ENTITY a "b">]><workbook/>')
    assert code_of(out.getvalue(), "a.xlsx")[0] == "data_bomb"


OLE = bytes.fromhex("d0cf11e0a1b11ae1")
BAD = {
    "empty": (b"", "a.csv", "data_empty"),
    "blank": (b" \r\n\t\n", "a.csv", "data_empty"),
    "only a mark": (b"\xef\xbb\xbf", "a.csv", "data_empty"),
    "commas alone": (b",,\n,,\n", "a.csv", "data_empty"),
    "only a header": (b"text,label\n", "a.csv", "data_empty"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a.csv", "data_not_table"),
    "a page": (b"<!DOCTYPE html><p>hi", "a.csv", "data_not_table"),
    "a program": (b"\x7fELF" + bytes(200), "a.csv", "data_not_table"),
    "noise": (bytes(range(1, 32)) * 40, "a.csv", "data_not_table"),
    "a pickle": (pickle.dumps({"a": 1}), "a.csv", "data_pickle"),
    "a pickle by name": (b"text\nhi\n", "a.pkl", "data_pickle"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "a.csv.gz", "data_compressed"),
    "nul": (b"text,label\ngood\x00,1\n", "a.csv", "data_nul"),
    "old excel": (OLE + bytes(600), "a.xls", "data_old_excel"),
    "locked excel": (OLE + "EncryptedPackage".encode("utf-16-le"), "a.xlsx", "data_password"),
    "half an excel": (excel([["text"], ["a"]])[:900], "a.xlsx", "data_broken"),
    "text called excel": (b"text\nhi\n", "a.xlsx", "data_broken"),
    "half a parquet": (b"PAR1" + bytes(50), "a.parquet", "data_broken"),
    "open quote": (b'text,label\n"good,1\nbad,0\n' * 3, "a.csv", None),
    "never closed": (b'text,label\ngood,1\nbad,"0\nmore,1\n', "a.csv", "data_quote_open"),
    "a long cell": (b"text,label\n" + b"x" * 140_000 + b",1\n", "a.csv", "data_cell_too_long"),
    "many columns": (
        b",".join(b"c%d" % at for at in range(101)) + b"\n" + b"1," * 100 + b"1\n",
        "a.csv",
        "data_too_many_columns",
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_no_table_is_said(name: str) -> None:
    content, called, expected = BAD[name]
    if expected is None:
        with suppress(DataError):
            read_table(content, called)
        return
    found, values = code_of(content, called)
    assert found == expected
    assert all(value is not None for value in values.values())


def test_row_of_the_open_quote() -> None:
    assert code_of(BAD["never closed"][0], "a.csv")[1]["row"] == 3


def test_too_many_bytes_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(bytes(50_000_001), "a.csv") == ("data_too_big", {"name": "a.csv", "size": "50.0", "limit": "50.0"})
    assert code_of(b"x\n" * (dataset.MAX_ROWS + 5), "a.txt")[0] == "data_too_many_rows"


def test_two_hundred_megabytes_are_refused_at_once() -> None:
    assert code_of(b"text,label\n" * 18_200_000, "a.csv")[0] == "data_too_big"


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "a.xlsx", "a.parquet", "a"]),
)
def test_any_bytes_are_a_table_or_a_message(content: bytes, name: str) -> None:
    with suppress(DataError):
        assert len(read_table(content, name)) > 0


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"PK\x03\x04", b"PAR1", b"\xff\xfe", b"\xef\xbb\xbf"]))
def test_any_bytes_after_a_true_beginning(content: bytes, start: bytes) -> None:
    with suppress(DataError):
        read_table(start + content, "a.csv")


def test_column_names_are_different() -> None:
    assert unique_names(["text", "text", "text 2", "", "text"]) == ["text", "text 2", "text 2 2", "#4", "text 3"]
    table = read_table(b"text,text,label\na,b,1\nc,d,0\n", "a.csv")
    assert len(set(table.columns)) == 3


FORMULAS = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "＝1+1", " =1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_stays_text_in_every_export(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    body = write_csv(("text", "=label"), [(text, "1")])
    (names, row) = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert names == ["text", "'=label"]
    assert row == [f"'{text}", "1"]


@pytest.mark.parametrize("value", ["-1.5", "+3", "1e-5", "-12%", "a=b", "", 3, -2.5, None])
def test_numbers_and_plain_text_stay_as_they_are(value: object) -> None:
    assert safe_cell(value) == value
