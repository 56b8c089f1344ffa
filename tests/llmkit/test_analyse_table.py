"""Tables, columns' kinds, the fixed set of operations, charts and files: against pandas, openpyxl and closed forms."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from llmkit.analyse import table as tables
from llmkit.analyse.agree import agreement, by_part
from llmkit.analyse.chart import MOST_BARS, MOST_POINTS, drawn, suggest
from llmkit.analyse.columns import kinds, typed
from llmkit.analyse.errors import AnalyseError
from llmkit.analyse.export import FORMATS, write
from llmkit.analyse.operation import (
    Aggregate,
    Chart,
    Filter,
    Group,
    Operation,
    Sort,
    Top,
    apply,
    as_dict,
    check,
    from_dict,
    run,
)
from llmkit.analyse.sample import LANGUAGES, keep_sample, sample_file
from llmkit.tune.data.dataset import read_table
from llmkit.tune.data.errors import DataError

HOSTILE = "__import__('os').system('false') or `x` @y"
"""A column's name that pandas' own query language would run."""


def frame() -> pd.DataFrame:
    cells = {
        "city": ["Taipei", "Tainan", "Taipei", None, "Tainan", "Taipei"],
        "price": ["10", "2,000", "-3.5", "", "7", None],
        "day": ["2026-1-5", "2026/01/31", "2026.2.1 13:45", "2025年12月31日", None, "2026-02-01"],
        "phone": ["0912", "0933", "0944", "0955", "0966", "0977"],
        HOSTILE: ["a long text", "another ＴＥＸＴ", "third", "=1+1", "fifth", "sixth"],
    }
    return typed(pd.DataFrame(cells, dtype=object))


def test_each_column_has_its_kind() -> None:
    made = frame()
    assert list(kinds(made).values()) == ["category", "number", "date", "text", "text"]
    assert made["price"].tolist()[:3] == [10.0, 2000.0, -3.5]
    assert made["price"].isna().tolist() == [False, False, False, True, False, True]
    assert made["day"].dt.strftime("%Y-%m-%d").tolist()[:4] == ["2026-01-05", "2026-01-31", "2026-02-01", "2025-12-31"]
    assert made["phone"].tolist()[0] == "0912"


@pytest.mark.parametrize("cells", [["1", "x"], ["1e999", "1"], [".", "1"], ["2026-02-30", "2026-01-01"], ["nan", "1"]])
def test_what_is_almost_numbers_or_dates_stays_text(cells: list[str]) -> None:
    assert kinds(typed(pd.DataFrame({"a": [*cells, "x" * 99]}, dtype=object))) == {"a": "text"}


def test_a_table_is_kept_whole_and_found_again(own_home: Path) -> None:
    read = read_table("城市,價格\n台北,1\n台南,2\n".encode("cp950"), "a.csv")
    about = tables.keep_table(read)
    assert tables.keep_table(read) == about == tables.about_table(about.id)
    assert about.kinds == {"城市": "category", "價格": "number"}
    assert tables.open_table(about.id)["城市"].tolist() == ["台北", "台南"]
    path = own_home / "tables" / about.id / tables.CELLS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="data_damaged"):
        tables.open_table(about.id)
    tables.forget_table(about.id)
    for name in (about.id, "../../etc", "a" * 20):
        with pytest.raises(DataError, match="data_missing"):
            tables.open_table(name)


def test_the_oldest_tables_give_way(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TABLES", 2)
    monkeypatch.setattr(tables.time, "time", lambda: 9e9)  # long after they were used
    kept = [tables.keep_table(read_table(f"a,b\n{n},x\n".encode(), "t.csv")).id for n in range(4)]
    assert sum((own_home / "tables" / one).is_dir() for one in kept) == 2


def test_the_sample_is_small_and_the_same_in_both_languages(own_home: Path) -> None:
    made = [tables.open_table(keep_sample(lang).id) for lang in LANGUAGES]
    assert [list(kinds(one).values()) for one in made] == [
        ["date", "category", "category", "number", "category", "category", "text"]
    ] * 2
    assert made[0].iloc[:, [0, 3, 6]].to_numpy().tolist()[:5] == made[1].iloc[:, [0, 3, 6]].to_numpy().tolist()[:5]
    assert all(sample_file(lang).stat().st_size < 100_000 for lang in LANGUAGES)
    assert len(made[0]) == 200


def test_filters_against_pandas() -> None:
    made = frame()
    same: list[tuple[Filter, pd.Series]] = [
        (Filter(column="city", test="is", value="Taipei"), made["city"] == "Taipei"),
        (Filter(column="city", test="is_not", value="Taipei"), made["city"] != "Taipei"),
        (Filter(column="price", test="above", value="7"), made["price"] > 7),
        (Filter(column="price", test="at_most", value="2,000"), made["price"] <= 2000),
        (Filter(column="price", test="empty"), made["price"].isna()),
        (Filter(column="day", test="is", value="2026-02-01"), made["day"].dt.date.astype(str) == "2026-02-01"),
        (Filter(column="day", test="below", value="2026-01-31"), made["day"] < "2026-01-31"),
        (Filter(column=HOSTILE, test="contains", value="text"), made[HOSTILE].str.contains("text|ＴＥＸＴ")),
        (Filter(column=HOSTILE, test="contains", value=".*"), pd.Series([False] * 6)),
    ]
    for operation, rows in same:
        found = apply(made, operation)
        pd.testing.assert_frame_equal(found, made[rows].reset_index(drop=True))
    assert len(made) == 6


def test_groups_aggregates_and_order_against_pandas() -> None:
    made = frame()
    means = apply(made, Group(by="city", how="mean", column="price"))
    assert dict(zip(means["city"], means["mean price"], strict=True)) == {"Tainan": 1003.5, "Taipei": 3.25}
    assert means["mean price"].is_monotonic_decreasing
    months = apply(made, Group(by="day", period="month"))
    assert months["day"].dt.strftime("%Y-%m").tolist() == ["2025-12", "2026-01", "2026-02"]
    assert months["count"].tolist() == [1, 2, 2]
    assert apply(made, Aggregate(how="median", column="price")).iloc[0, 0] == np.median([10, 2000, -3.5, 7])
    assert apply(made, Aggregate(how="count")).iloc[0, 0] == 6
    ordered = apply(made, Sort(column="price", descending=True))["price"]
    assert ordered.tolist()[:4] == [2000, 10, 7, -3.5]
    assert ordered.isna().tolist()[4:] == [True, True]
    assert apply(made, Top(column="price", n=2, smallest=True))["price"].tolist() == [-3.5, 7]
    chained = run(made, [Filter(column="city", test="filled"), Group(by="city"), Sort(column="count")])
    assert chained["city"].tolist() == ["Tainan", "Taipei"]
    with pytest.raises(AnalyseError, match="op_no_column"):
        run(made, [Group(by="city"), Sort(column="price")])
    assert apply(made.rename(columns={"city": "count"}), Group(by="count")).columns.tolist() == ["count", "count 2"]


BAD: list[tuple[Operation, str]] = [
    (Filter(column="none", test="is", value="x"), "op_no_column"),
    (Filter(column="city", test="above", value="1"), "op_wrong_kind"),
    (Filter(column="price", test="above", value="1 or 1"), "op_bad_value"),
    (Filter(column="day", test="is", value="today"), "op_bad_value"),
    (Filter(column="city", test="eval", value="1"), "op_bad_value"),  # type: ignore[arg-type]
    (Group(by="city", how="mean", column="phone"), "op_wrong_kind"),
    (Group(by="city", how="system", column="price"), "op_bad_value"),  # type: ignore[arg-type]
    (Group(by="day", period="week"), "op_bad_value"),  # type: ignore[arg-type]
    (Aggregate(how="count", column="price"), "op_bad_value"),
    (Top(column="city"), "op_wrong_kind"),
    (Top(column="price", n=0), "op_bad_value"),
    (Chart(picture="pie", x="city"), "op_bad_value"),  # type: ignore[arg-type]
    (Chart(picture="scatter", x="price", y="price"), "op_bad_value"),
    (Chart(picture="histogram", x="city"), "op_wrong_kind"),
]


@pytest.mark.parametrize(("operation", "code"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_what_does_not_fit_is_refused(operation: Operation, code: str) -> None:
    with pytest.raises(AnalyseError) as caught:
        apply(frame(), operation)
    assert caught.value.code == code


def test_a_hostile_name_is_a_name() -> None:
    made = frame()
    assert len(apply(made, Group(by=HOSTILE))) == 6
    assert apply(made, Sort(column=HOSTILE))[HOSTILE].tolist() == sorted(made[HOSTILE])
    assert len(apply(made, Filter(column=HOSTILE, test="is", value="=1+1"))) == 1


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"op": "eval"},
        {"op": []},
        {"op": "sort"},
        {"op": "sort", "column": "a", "code": "x"},
        {"op": "sort", "column": ["a"]},
        {"op": "top", "column": "a", "n": "5"},
        {"op": "sort", "column": "a", "descending": 1},
    ],
)
def test_what_is_no_operation_is_none(data: object) -> None:
    with pytest.raises(AnalyseError, match="op_bad_value"):
        from_dict(data)


def test_operations_come_back_from_plain_data() -> None:
    for operation in (
        Filter(column="a", test="is", value="b"),
        Group(by="a", how="sum", column="b"),
        Aggregate(how="count"),
        Sort(column="a", descending=True),
        Top(column="a", n=3),
        Chart(picture="line", x="a"),
    ):
        assert from_dict(as_dict(operation)) == operation


def test_charts_hold_what_pandas_reckons() -> None:
    made = frame()
    bars = drawn(made, Chart(picture="bar", x="city", y="price"))
    expected = made.groupby("city", observed=True)["price"].mean().sort_values(ascending=False)
    assert bars.data.iloc[:, 1].tolist() == expected.tolist()
    found = drawn(made, Chart(picture="histogram", x="price")).data
    assert found["rows"].sum() == made["price"].notna().sum()
    ratings = pd.DataFrame({"r": [1.0, 2, 2, 5]})
    whole = drawn(ratings, Chart(picture="histogram", x="r")).data
    assert whole["rows"].tolist() == [1, 2, 0, 0, 1]
    grouped = apply(made, Group(by="day"))
    line = drawn(grouped, Chart(picture="line", x="day", y="count"))
    assert line.data["count"].tolist() == grouped["count"].tolist()
    assert suggest(grouped, (Group(by="day"),)) == Chart(picture="line", x="day", y="count")
    assert suggest(made) == Chart(picture="bar", x="city", y="price")
    assert suggest(pd.DataFrame({"t": ["some text", "more"]})) is None


def test_a_chart_of_many_rows_is_small() -> None:
    many = pd.DataFrame({"x": np.arange(50_000.0), "y": np.arange(50_000.0), "t": [f"text {n}" for n in range(50_000)]})
    points = drawn(many, Chart(picture="scatter", x="x", y="y"))
    assert len(points.data) <= MOST_POINTS
    assert len(points.data) + points.left_out == 50_000
    bars = drawn(many, Chart(picture="bar", x="t"))
    assert (len(bars.data), bars.left_out) == (MOST_BARS, 50_000 - MOST_BARS)


def test_agreement_is_counted_where_both_are_there() -> None:
    said = pd.Series(["a", "b", None, "a", "c"], dtype=object)
    true = pd.Series(["a", "a", "a", None, "c"], dtype=object)
    found = agreement(said, true)
    assert found is not None
    assert (found.right, found.n, found.labels) == (2, 3, ("a", "b", "c"))
    assert found.table.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert found.low < 2 / 3 < found.high
    parts = by_part(said, true, pd.Series(["x", "x", "x", "y", "y"], dtype="category"))
    assert {name: (one.right, one.n) for name, one in parts.items()} == {"x": (1, 2), "y": (1, 1)}
    assert agreement(pd.Series([None]), pd.Series(["a"])) is None


@pytest.mark.parametrize("form", FORMATS)
def test_files_that_leave_run_nothing(form: str) -> None:
    names = ["=cmd|' /C calc'!A0", "day", "n"]
    made = pd.DataFrame(
        {
            names[0]: ["=HYPERLINK(1)", "+1+1", "-2.5", "@x", "\x01=1+1", None],
            "day": pd.to_datetime(["2026-01-01"] * 5 + [None]),
            "n": [-1.5, 2, np.nan, 0, 1, 2],
        }
    )
    content = write(made, form)  # type: ignore[arg-type]
    if form == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(content)), made, check_dtype=False)
        return
    if form == "csv":
        back = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        first, cells, days = back.columns[0], back.iloc[:, 0].tolist(), back["day"].tolist()
    else:
        sheet = openpyxl.load_workbook(io.BytesIO(content)).active
        rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
        assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
        first, cells, days = rows[0][0], [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]
        assert [row[2] for row in rows[1:]] == [-1.5, 2, None, 0, 1, 2]
    assert first.startswith("'=")
    assert cells[:4] == ["'=HYPERLINK(1)", "'+1+1", "-2.5", "'@x"]
    assert days[0] == "2026-01-01"


def test_checks_change_nothing() -> None:
    made = frame()
    before = made.copy()
    for operation in (Sort(column="price"), Group(by="city"), Filter(column="city", test="is", value="Taipei")):
        check(operation, kinds(made))
        apply(made, operation)
    pd.testing.assert_frame_equal(made, before)
