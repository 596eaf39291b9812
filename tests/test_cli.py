"""The command line: what each subcommand prints and writes, and what it says of input that is wrong."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import Pipeline

import fastmlp
from fastmlp.cli import demo, example, info, model, target, warmup
from fastmlp.cli.columns import as_dates, as_numbers, as_text
from fastmlp.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def call(capsys):
    """Return a function that runs the command line; it returns exit status, stdout and stderr."""

    def call(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def report(call):
    """Return a function that trains, and returns the report."""

    def report(*arguments):
        status, out, err = call("train", *arguments, "--json", "--epochs", 3)
        assert (status, err) == (0, ""), err
        return json.loads(out)

    return report


@pytest.fixture
def refused(call):
    """Return a function that runs what must be refused: one line on stderr, none on stdout; it returns the line."""

    def refused(*arguments, status=2):
        got, out, err = call(*arguments)
        assert (got, out) == (status, "")
        assert err.count("\n") == 1
        return err

    return refused


def shop(n=150, seed=0):
    """Return a table with columns of every kind."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": np.arange(n) + 1,
            "name": [f"customer {row * 7 % n}" for row in range(n)],
            "city": random.choice(["Rome", "Ulm", "Bonn"], n),
            "age": random.integers(18, 80, n).astype(float),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 1000, n), "D"),
            "member": random.random(n) < 0.5,
            "shop": 1,
        }
    )
    frame["spent"] = frame["age"] * 2.5 + (frame["city"] == "Rome") * 30 + frame["member"] * 10
    frame.loc[::7, "age"], frame.loc[::11, "city"] = np.nan, None
    return frame


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "shop.csv"
    shop().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """Return a table of irises and a model of them."""
    path = tmp_path_factory.mktemp("iris") / "iris.csv"
    data = load_iris(as_frame=True)
    frame = data.frame.rename(columns={"target": "species"})
    frame["species"] = data.target_names[frame["species"]]
    frame.to_csv(path, index=False)
    assert main(["train", str(path), "--target", "species", "--out", str(path.with_suffix(".skops")), "--quiet"]) == 0
    return path


def kinds(found):
    return {column["name"]: column["kind"] for column in found["columns"]}


def text_file(tmp_path, text, name="table.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(header, make, n=30):
    return "\n".join([header, *(make(row) for row in range(n))]) + "\n"


# train


def test_train_reports_what_was_done_with_each_column(report, table):
    found = report(table, "--target", "spent")
    assert kinds(found) == {
        "number": "dropped",
        "name": "dropped",
        "city": "category",
        "age": "number",
        "since": "date",
        "member": "category",
        "shop": "dropped",
    }
    assert {column["name"]: column["missing"] for column in found["columns"]}["age"] == 22
    assert found["task"] == "regression"
    assert found["rows"] == {"table": 150, "used": 150, "train": 120, "test": 30}
    # city: three and missing; age and whether it is missing; since; member: two
    assert found["network"]["widths"] == [4 + 2 + 1 + 2, 100, 50, 1]
    assert found["epochs"] == len(found["loss_curve"]) == len(found["validation_loss_curve"]) == 3


def test_train_learns(call, iris):
    status, out, _ = call("train", iris, "--target", "species", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["score"]["value"] > 0.9 > 0.4 > found["score"]["baseline_value"]
    assert [row["class"] for row in found["score"]["classes"]] == ["setosa", "versicolor", "virginica"]
    assert sum(row["rows"] for row in found["score"]["classes"]) == found["rows"]["test"] == 30


def test_regression_learns_in_the_units_of_the_target(call, tmp_path):
    frame = shop(600)[["city", "member"]]
    frame["spent"] = 1e6 + 1e4 * (frame["city"] == "Rome") + 1e3 * frame["member"]
    frame.to_csv(tmp_path / "large.csv", index=False)
    status, out, _ = call("train", tmp_path / "large.csv", "--target", "spent", "--task", "regression", "--json")
    score = json.loads(out)["score"]
    assert status == 0
    assert score["value"] > 0.8 > 0.1 > score["baseline_value"]
    assert score["mean_absolute_error"] < 3000 < score["baseline_mean_absolute_error"]


def test_the_report_as_text(call, table):
    status, out, err = call("train", table, "--target", "spent", "--epochs", "3")
    assert (status, err) == (0, "")
    for line in (
        r"150 rows; regression of 'spent'",
        r"  shop +dropped +one value only",
        r"  city +category +one column for each level \(3\); 14 missing: a level",
        r"Network   9-100-50-1 \(6,101 parameters\)",
        r"Held out  30 rows: R squared .* \(the mean: ",
        r"more --epochs may be better",
        r"--out FILE.skops writes it",
    ):
        assert re.search(line, out), line


def test_quiet_prints_nothing(call, table, tmp_path):
    out = tmp_path / "model.skops"
    assert call("train", table, "--target", "spent", "--epochs", 1, "--quiet", "--out", out) == (0, "", "")
    assert out.exists()


def test_columns_are_chosen(report, table):
    options = ["--drop", "age, since", "--drop", "name", "--keep", "number,shop", "--categories", "number"]
    found = report(table, "--target", "spent", *options, "--id", "city")
    assert kinds(found) == {
        "number": "category",
        "member": "category",
        "shop": "number",
        **dict.fromkeys(["age", "since", "name"], "dropped"),
        "city": "id",
    }
    weighted = report(table, "--target", "spent", "--weight", "number")
    assert kinds(weighted)["number"] == "weight"
    assert weighted["score"]["value"] != report(table, "--target", "spent", "--drop", "number")["score"]["value"]


def test_settings_reach_the_network(report, table):
    found = report(table, "--target", "spent", "--hidden", "7, 5", "--threads", 1, "--test-size", 0)
    assert found["network"]["widths"][1:] == [7, 5, 1]
    assert found["most_epochs"] == 3
    assert found["score"] is None
    assert found["rows"]["train"] == 150


def test_the_seed_decides(report, table):
    first, again, other = (report(table, "--target", "spent", "--seed", seed)["loss_curve"] for seed in (1, 1, 2))
    assert first == again != other


def test_no_gpu_is_a_failure(refused, table, monkeypatch):
    def check_gpu():
        raise RuntimeError("device='cuda' needs an NVIDIA GPU")

    monkeypatch.setattr("fastmlp.cli.train.check_gpu", check_gpu)
    assert "NVIDIA" in refused("train", table, "--target", "spent", "--device", "cuda", status=1)


def test_search_takes_the_best(report, table):
    found = report(table, "--target", "member", "--search", "--hidden", "8")
    searched = found["search"]
    assert len(searched["candidates"]) == 16
    best = max(searched["candidates"], key=lambda candidate: candidate["score"])
    assert searched["best"] == {name: best[name] for name in ("alpha", "learning_rate_init")}
    assert all(found["network"][name] == value for name, value in searched["best"].items())
    assert found["network"]["widths"][1:] == [8, 1]


def test_search_prints_its_best(call, table):
    _, out, _ = call("train", table, "--target", "spent", "--search", "--epochs", 1)
    assert re.search(r"Search +16 settings in 3 folds.*r2 .*\n +best: .*hidden_layer_sizes", out)


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_loss_picture(report, table, tmp_path, suffix, start):
    report(table, "--target", "spent", "--loss-picture", tmp_path / f"loss.{suffix}")
    assert (tmp_path / f"loss.{suffix}").read_bytes().startswith(start)


def test_nothing_is_overwritten_unless_forced(call, refused, table, tmp_path):
    out = tmp_path / "model.skops"
    arguments = ["train", table, "--target", "spent", "--epochs", 1, "--quiet", "--out", out]
    out.write_text("precious")
    there = sorted(tmp_path.iterdir())
    assert "--force" in refused(*arguments)
    assert out.read_text() == "precious"
    assert call(*arguments, "--force")[0] == 0
    assert model.load(out)["target"] == "spent"
    assert sorted(tmp_path.iterdir()) == there  # nothing half written either


@pytest.mark.parametrize("name", ["model.pkl", "nowhere/model.skops"])
def test_outputs_are_checked_before_the_work(refused, table, tmp_path, name):
    refused("train", table, "--target", "spent", "--out", tmp_path / name)


# tables that are read


@pytest.mark.parametrize("form", ["csv", "csv.gz", "tsv", "parquet", "semicolon", "bom"])
def test_the_same_table_in_all_forms(report, tmp_path, form):
    frame, plain = shop(), tmp_path / "plain.csv"
    frame.to_csv(plain, index=False)
    path = tmp_path / f"shop.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        path = tmp_path / f"{form}.csv"
        frame.to_csv(path, index=False, sep=";" if form == "semicolon" else ",", encoding="utf-8-sig")
    found, expected = report(path, "--target", "spent"), report(plain, "--target", "spent")
    assert found["columns"] == expected["columns"]
    assert found["loss_curve"] == expected["loss_curve"]


def test_decimal_commas(report, tmp_path):
    path = text_file(tmp_path, rows_of("x;y", lambda row: f"{row % 7},5;{row},25"))
    found = report(path, "--target", "y", "--decimal", ",")
    assert (found["task"], kinds(found)) == ("regression", {"x": "number"})


def test_decimal_commas_are_pointed_out(report, tmp_path):
    path = text_file(tmp_path, rows_of("x;y", lambda row: f"{row % 7},5;{row % 2}"))
    assert "--decimal" in report(path, "--target", "y")["columns"][0]["note"]


def test_infinite_and_missing_numbers(report, tmp_path):
    values = ["inf", "-inf", "?", "NA", "7"]
    path = text_file(
        tmp_path, rows_of("x,z,y", lambda row: f"{values[row % 5]}{'' if row % 5 < 4 else row},{row},{row % 2}")
    )
    x = report(path, "--target", "y")["columns"][0]
    assert (x["kind"], x["missing"], x["distinct"]) == ("number", 24, 6)
    assert "12 infinite" in x["note"]


def test_many_levels_are_grouped(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"level {row // 2 % 700},{row % 2}", 3000))
    found = report(path, "--target", "y")
    assert found["columns"][0]["distinct"] == 700
    assert found["network"]["widths"][0] == 1  # all levels are rare
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"level {row % 150},{row // 150 % 2}", 3000))
    assert report(path, "--target", "y")["network"]["widths"][0] == 100


def test_mixed_columns_are_pointed_out(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"{'some' if row == 4 else row % 5},{row % 2}"))
    assert "'some' in row 5" in report(path, "--target", "y")["columns"][0]["note"]


def test_rows_without_target(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"{row % 9},{['a', 'b', ''][row % 3]}"))
    found = report(path, "--target", "y")
    assert found["rows"]["used"] == 20
    assert "10 rows without a value" in found["notes"][0]


def test_types_of_parquet_that_are_no_features(report, tmp_path):
    frame = shop(40)[["age", "member"]].assign(
        bytes=b"x",
        lists=[[row] for row in range(40)],
        day=pd.Timestamp("2020-01-01").date(),
        price=[Decimal(row) for row in range(40)],
        kind=pd.Categorical(["a", "b"] * 20),
    )
    frame.to_parquet(tmp_path / "types.parquet")
    found = report(tmp_path / "types.parquet", "--target", "member")
    assert kinds(found) == {
        "age": "number",
        "price": "number",
        "kind": "category",
        **dict.fromkeys(["bytes", "lists", "day"], "dropped"),
    }


def test_conversions():
    numbers, bad = as_numbers(pd.Series(["1", " 2.5", None, "x", "inf"], dtype=object))
    np.testing.assert_array_equal(numbers, [1, 2.5, np.nan, np.nan, np.nan])
    assert bad.tolist() == [False, False, False, True, False]
    days, bad = as_dates(pd.Series(["1970-01-02", "1970-01-01T12:00:00+00:00", None, "soon"], dtype=object))
    np.testing.assert_array_equal(days, [1, 0.5, np.nan, np.nan])
    assert bad.tolist() == [False, False, False, True]
    assert as_text(pd.Series([True, False])).tolist() == ["True", "False"]
    assert as_text(pd.Series(["true", "False"])).tolist() == ["True", "False"]
    assert as_text(pd.Series([1.0, np.nan]))[0] == "1"
    assert as_text(pd.Series(["01 "])).tolist() == ["01"]


# targets


@pytest.mark.parametrize(
    ("values", "task", "kind"),
    [
        (["a", "b"] * 10, "classification", "text"),
        (["True", "False"] * 10, "classification", "text"),
        ([0, 1, 2, 3] * 5, "classification", "integer"),
        (["1.0", "2.0"] * 10, "classification", "integer"),
        ([0.5, 1.5] * 10, "classification", "text"),
        (list(range(20)), "regression", "number"),
        ([0, 1, 2, 3, 4, 5] * 4, "regression", "number"),  # fewer than five rows of each
        ([0.5, 1.5, 2.0] * 10, "regression", "number"),
    ],
)
def test_task_of_a_target(values, task, kind):
    found = target.analyse(pd.Series(list(map(str, values)), name="y"), "auto", ".")
    assert (found.task, found.kind) == (task, kind)


def test_a_task_that_is_asked_for():
    values = pd.Series([0, 1, 2] * 10, name="y")
    assert target.analyse(values, "regression", ".").kind == "number"
    assert target.analyse(values + 0.5, "classification", ".").y.tolist() == ["0.5", "1.5", "2.5"] * 10


def test_a_class_with_one_row_is_trained_on(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"{row % 9},{'c' if row == 5 else 'ab'[row % 2]}"))
    for seed in range(5):
        found = report(path, "--target", "y", "--seed", seed)
        assert found["rows"]["test"] == 6
        assert [row["class"] for row in found["score"]["classes"]] == ["a", "b", "c"]
        assert found["score"]["classes"][2]["rows"] == 0
        assert "one row each" in found["notes"][0]


def test_classes_keep_their_shares():
    y = np.repeat([0, 1], [90, 10])
    for seed in range(5):
        train, test, note = target.split(y, "classification", 0.2, seed)
        assert (y[test].sum(), len(test), note) == (2, 20, "")
        assert sorted([*train, *test]) == list(range(100))


def test_too_few_rows_held_out_for_all_classes(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"{row % 4},{'abcd'[row % 4]}", 12))
    assert "too few to keep the shares" in report(path, "--target", "y")["notes"][0]


# input that is wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("x,y\n", "no rows"),
        ("x,x,y\n" + "1,2,a\n" * 20, "more than one column is called 'x'"),
        ("x,y\n" + "1,a\n" * 5 + "1,a,b\n", "Expected 2 fields in line 7, saw 3"),
        ("x,y\n" + "1,a,b\n" * 20, "more fields than the header"),
        ("x,y\n1,\0a\n", "bytes that are zero"),
        ("x,Y\n" + "1,a\n2,b\n" * 9, "no column 'y'; did you mean 'Y'? there are x, Y"),
        ("x,y\n" + "1,a\n2,a\n" * 9, "one value only, 'a'"),
        ("x,y\n" + "1,\n" * 20, "0 rows have a value"),
        ("x,y\n" + "1,a\n2,b\n" * 4, "8 rows have a value of the target 'y'; at least 10"),
        ("x,y\n" + "1,a\n1,b\n" * 9, "'x': one value only"),
        ("y\n" + "a\nb\n" * 9, "no column is left to learn from (there are none)"),
        (rows_of("x,y", lambda row: f"{row % 4},name {row}"), "30 different values in 30 rows"),
    ],
)
def test_wrong_tables(refused, tmp_path, text, expected):
    assert expected in refused("train", text_file(tmp_path, text), "--target", "y")


def test_wrong_files(refused, tmp_path):
    assert "no such file" in refused("train", tmp_path / "none.csv", "--target", "y")
    assert "not a file" in refused("train", tmp_path, "--target", "y")
    assert "must end in one of .csv" in refused("train", text_file(tmp_path, "", "table.xlsx"), "--target", "y")
    latin = text_file(tmp_path, "x,y\nCafé,1\n", encoding="latin-1")
    assert "not text in UTF-8 (it has a byte 0xe9)" in refused("train", latin, "--target", "y")
    late = text_file(tmp_path, "x,y\n" + "a,1\n" * 100_000 + "Café,1\n", encoding="latin-1")
    assert "not text in UTF-8" in refused("train", late, "--target", "y")
    garbage = tmp_path / "garbage"
    for suffix, expected in (("csv", "UTF-8"), ("csv.gz", "cannot be read"), ("parquet", "not a Parquet file")):
        path = garbage.with_suffix(f".{suffix}")
        path.write_bytes(np.random.default_rng(0).bytes(1000))
        assert expected in refused("train", path, "--target", "y")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * 1000)[:-20])
    assert "not a table" in refused("train", cut, "--target", "y")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--target", "spend"], "did you mean 'spent'?"),
        (["--drop", "citty"], "--drop: the table has no column 'citty'; did you mean 'city'?"),
        (["--keep", "none"], "--keep"),
        (["--id", "none"], "--id"),
        (["--drop", "spent"], "'spent' is the target"),
        (["--weight", "city"], "--weight"),
        (["--weight", "age"], "--weight"),  # some are missing
        (["--target", "city", "--task", "regression"], "must have numbers, but not in 136 rows: first "),
        (["--test-size", "0.001"], "2 are needed"),
        (["--test-size", "0.999"], "leave too few"),
    ],
)
def test_wrong_options(refused, table, options, expected):
    options = options if "--target" in options else ["--target", "spent", *options]
    assert expected in refused("train", table, *options)


def test_numbers_that_are_no_classes(refused, tmp_path):
    path = text_file(tmp_path, rows_of("x,y", lambda row: f"{row % 5},{row}"))
    assert "--task regression" in refused("train", path, "--target", "y", "--task", "classification")


@pytest.mark.parametrize("options", ["--hidden=5,0", "--epochs=0", "--test-size=1", "--seed=-1", None])
def test_options_that_the_parser_refuses(call, table, options):
    status, out, err = call("train", table, *([options, "--target", "spent"] if options else []))
    assert (status, out) == (2, "")
    assert err.startswith("usage: fastmlp train")


def test_a_fit_that_fails(refused, table, monkeypatch):
    def diverge(*arguments):
        raise ValueError("Solver produced non-finite parameter weights")

    monkeypatch.setattr("fastmlp.cli.train.fit", diverge)
    assert "the training failed: Solver" in refused("train", table, "--target", "spent", status=1)


def test_huge_numbers(report, tmp_path):
    path = text_file(tmp_path, rows_of("x,z,y", lambda row: f"{row % 9}e300,{row % 5}e30,{row + 0.5}e30"))
    found = report(path, "--target", "y")
    assert "26 infinite or beyond" in found["columns"][0]["note"]
    assert np.isfinite(found["score"]["value"])


def test_an_extra_that_is_missing(refused, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'fastmlp[cli]'" in refused("train", table, "--target", "spent", status=1)
    assert "pip install 'fastmlp[cli]'" in refused("predict", "model.skops", table, status=1)


# predict


def test_predict_in_another_process(iris):
    command = [sys.executable, "-m", "fastmlp", "predict", str(iris.with_suffix(".skops")), str(iris), "--proba"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = pd.read_csv(io.StringIO(done.stdout))
    classes = ["setosa", "versicolor", "virginica"]
    assert list(found) == ["prediction", *(f"probability_{name}" for name in classes)]
    np.testing.assert_allclose(found.iloc[:, 1:].sum(axis=1), 1, rtol=1e-5)
    assert (found["prediction"] == np.array(classes)[found.iloc[:, 1:].to_numpy().argmax(axis=1)]).all()
    accuracy = (found["prediction"] == pd.read_csv(iris)["species"]).mean()
    assert accuracy > 0.9
    assert done.stderr == f"fastmlp predict: accuracy {accuracy:.4f} of the 150 rows that have 'species'\n"


@pytest.mark.parametrize("form", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_predictions_in_a_file(call, refused, iris, tmp_path, form):
    out, arguments = tmp_path / f"out{form}", ["predict", iris.with_suffix(".skops"), iris]
    _, printed, _ = call(*arguments)
    expected = pd.read_csv(io.StringIO(printed))
    assert call(*arguments, "--out", out)[:2] == (0, "")
    got = pd.read_parquet(out) if form == ".parquet" else pd.read_csv(out, sep="\t" if form == ".tsv" else ",")
    assert got["prediction"].tolist() == expected["prediction"].tolist()
    assert "--force" in refused(*arguments, "--out", out)


def test_predictions_as_json(call, iris):
    status, out, err = call("predict", iris.with_suffix(".skops"), iris, "--json", "--proba")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["rows"], found["score"]["rows"], len(found["predictions"])) == (150, 150, 150)
    probabilities = {f"probability_{name}" for name in ("setosa", "versicolor", "virginica")}
    assert set(found["predictions"][0]) == {"prediction", *probabilities}


def test_predictions_of_every_kind_of_column(call, table, tmp_path):
    out = tmp_path / "model.skops"
    assert call("train", table, "--target", "spent", "--id", "number", "--out", out, "--quiet")[0] == 0
    new = shop(20, seed=1).drop(columns=["spent", "shop", "name"])  # what was dropped is not needed
    new = new.assign(more=1)[["more", *reversed(new.columns)]]
    new.loc[3, "city"] = "Oslo"
    new.to_csv(tmp_path / "new.csv", index=False)
    new.to_parquet(tmp_path / "new.parquet")
    status, text, err = call("predict", out, tmp_path / "new.csv")
    assert status == 0
    assert err.splitlines() == [
        "fastmlp predict: columns that the model does not know are ignored: more",
        "fastmlp predict: 'city': 1 rows have a value that was not in training, first 'Oslo'",
    ]
    found = pd.read_csv(io.StringIO(text))
    assert list(found) == ["number", "prediction"]
    assert found["number"].tolist() == list(range(1, 21))
    assert call("predict", out, tmp_path / "new.parquet")[1] == text
    pipeline = model.load(out)["pipeline"]
    assert isinstance(pipeline, Pipeline)
    assert found["prediction"].std() > 10
    new.assign(number=np.nan).to_csv(tmp_path / "new.csv", index=False)
    found = json.loads(call("predict", out, tmp_path / "new.csv", "--json")[1], parse_constant=pytest.fail)
    assert found["predictions"][0]["number"] is None


def test_predictions_do_not_depend_on_the_form_of_integers(call, tmp_path):
    frame = pd.DataFrame({"code": [1, 2, None] * 10, "y": ["a", "b", "c"] * 10})
    frame.to_parquet(tmp_path / "codes.parquet")  # floating-point numbers, for some are missing
    out = tmp_path / "codes.skops"
    arguments = ["--target", "y", "--categories", "code", "--epochs", 200, "--out", out, "--quiet"]
    frame.astype({"code": "Int64"}).to_csv(tmp_path / "codes.csv", index=False)
    assert call("train", tmp_path / "codes.csv", *arguments) == (0, "", "")
    first = call("predict", out, tmp_path / "codes.csv")
    assert first == call("predict", out, tmp_path / "codes.parquet")
    assert "accuracy 1.0000" in first[2]


def test_wrong_tables_for_a_model(refused, iris, tmp_path):
    model_file, frame = iris.with_suffix(".skops"), pd.read_csv(iris).drop(columns="species")

    def message(changed, *options):
        changed.to_csv(tmp_path / "new.csv", index=False)
        return refused("predict", model_file, tmp_path / "new.csv", *options)

    assert "no rows" in message(frame.head(0))
    renamed = frame.rename(columns={"petal width (cm)": "Petal_width (cm)"})
    assert "no column 'petal width (cm)'; did you mean 'Petal_width (cm)'?" in message(renamed)
    words = frame.astype(object)
    words.iloc[4, 2] = "wide"
    expected = "'petal length (cm)' must have numbers, as in training, but not in 1 rows: first 'wide' in row 5"
    assert expected in message(words)


def test_wrong_models(refused, call, iris, table, tmp_path):
    assert "cannot be read" in refused("predict", tmp_path / "none.skops", iris)
    bad = tmp_path / "bad.skops"
    bad.write_bytes(b"no model")
    assert "not a model of `fastmlp train`" in refused("predict", bad, iris)
    whole = iris.with_suffix(".skops").read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    assert "not a model of `fastmlp train`" in refused("predict", bad, iris)
    skops.io.dump({"format": "another"}, bad)
    assert "not a model of `fastmlp train`" in refused("predict", bad, iris)
    out = tmp_path / "numbers.skops"
    assert call("train", table, "--target", "spent", "--epochs", 1, "--out", out, "--quiet")[0] == 0
    assert "--proba" in refused("predict", out, table, "--proba")


def forged(iris, path, change):
    """Write a model with something changed."""
    loaded = model.load(iris.with_suffix(".skops"))
    change(loaded)
    skops.io.dump(loaded, path)
    return path


class Untrusted:
    """A type that no model needs."""


def test_types_that_are_not_trusted_are_named_and_not_loaded(refused, iris, tmp_path):
    path = forged(iris, tmp_path / "forged.skops", lambda loaded: loaded.update(more=Untrusted()))
    assert f"not trusted, {Untrusted.__module__}.Untrusted" in refused("predict", path, iris)


def test_a_model_needs_no_more_than_the_trusted_types(iris):
    """Without one of them a model could not be loaded: the list is as short as it can be."""
    found = set(skops.io.get_untrusted_types(file=iris.with_suffix(".skops")))
    found |= {name for name in model.TRUSTED if name.startswith("sklearn.")}  # of some versions
    assert found == set(model.TRUSTED) - {"fastmlp.estimators.regressor.MLPRegressor"}


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.coefs_.__setitem__(1, network.coefs_[1][:-1]),
        lambda network: network.coefs_.pop(),
        lambda network: network.intercepts_.__setitem__(0, network.intercepts_[0][:3]),
        lambda network: network.coefs_.__setitem__(0, network.coefs_[0].astype(int)),
        lambda network: setattr(network, "n_features_in_", 5),
        lambda network: setattr(network, "coefs_", []),
        lambda network: vars(network).pop("intercepts_"),
        lambda network: setattr(network, "classes_", network.classes_[:2]),
    ],
)
def test_weights_that_do_not_fit_are_refused(refused, iris, tmp_path, change):
    """Kernels would read beyond the end of arrays."""
    path = forged(iris, tmp_path / "forged.skops", lambda loaded: change(loaded["pipeline"][-1]))
    assert "is damaged" in refused("predict", path, iris)


@pytest.mark.parametrize(
    "change",
    [
        lambda loaded: loaded.update(task="other"),
        lambda loaded: loaded.update(columns={"x": "other"}),
        lambda loaded: loaded.pop("columns"),
        lambda loaded: loaded.update(pipeline=3),
        lambda loaded: loaded.update(pipeline=Pipeline([("network", SGDClassifier())])),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(refused, iris, tmp_path, change):
    assert "is damaged" in refused("predict", forged(iris, tmp_path / "forged.skops", change), iris)


def test_another_scikit_learn_is_noted(call, iris, tmp_path):
    path = forged(iris, tmp_path / "old.skops", lambda loaded: loaded["versions"].update({"scikit-learn": "1.2.3"}))
    status, _, err = call("predict", path, iris)
    assert status == 0
    assert "written with scikit-learn 1.2.3" in err


def test_a_model_is_a_file_of_plain_data(iris):
    with zipfile.ZipFile(iris.with_suffix(".skops")) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".json", ".npy"}


# info, warmup, example, demo


def test_info(call):
    status, out, _ = call("info", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["fastmlp"] == fastmlp.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["cache"]["writable"] is True
    assert found["cache"]["bytes"] > 0
    assert found["threads"] >= 1
    text = call("info")[1]
    assert found["cache"]["folder"] in text
    assert f"numpy {np.__version__}" in text


def test_info_knows_all_extras():
    """Those of pyproject.toml, but what only developers need, and bounds of what fastmlp needs anyway."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    expected = {}
    for name, packages in re.findall(r"^(\w+) = \[(.*?)\]\s*(?:#[^\n]*)?$", section, re.MULTILINE | re.DOTALL):
        found = {re.match(r"[\w-]+", package)[0] for package in re.findall(r'"([^"]+)"', packages)}
        expected[name] = found - {"fastmlp", "numpy"}
    for name in ("test", "oldest", "bench", "dev"):
        del expected[name]
    assert {extra: set(packages) for extra, packages in info.EXTRAS.items()} == expected


def test_what_is_not_installed_is_said(call, monkeypatch):
    monkeypatch.setitem(info.EXTRAS, "cuda", ("no-such-package",))
    assert "no-such-package not installed" in call("info")[1]


def test_warmup(call):
    assert call("warmup", "--dtype", "float32")[0] == 0
    status, out, _ = call("warmup", "--dtype", "float32")
    assert status == 0
    for name in ("MLPClassifier, adam, dense", "MLPRegressor, lbfgs, sparse"):
        assert re.search(rf"{name}, float32 .*nothing to compile", out)
    assert "0 functions compiled" in out


def test_warmup_compiles_what_a_fit_needs(tmp_path):
    """In an empty cache; for another process nothing is left."""
    script = """
from fastmlp import Perceptron
from fastmlp.cli import warmup
from fastmlp.cli.info import cache
from fastmlp.cpu.share import look
warmup.estimators = lambda full: {"Perceptron": Perceptron(max_iter=1)}  # the smallest
for _, _, compiled in warmup.warm_up(["float32"]): print(compiled)
assert look.signatures
print(cache()["programs"])
"""
    settings = {"env": {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, "cwd": ROOT}
    command = [sys.executable, "-c", script]
    first, again = (
        [int(line) for line in subprocess.check_output(command, text=True, **settings).split()] for _ in range(2)
    )
    assert sum(first[:-1]) == first[-1] > 0
    assert again == [0, 0, first[-1]]


def test_warmup_full_has_the_program_of_all_formulas():
    from fastmlp.cpu.program import CLASSIC_PROGRAM, FULL_PROGRAM, program_of

    found = warmup.estimators(full=True)
    networks = [
        estimator.set_params(max_iter=200).fit([[0.0], [1.0]] * 20, [0, 1] * 20)._fitted_network()[0]
        for estimator in (found["MLPRegressor, lbfgs"], found["MLPClassifier, adamw, gelu"])
    ]
    assert [program_of(network) for network in networks] == [CLASSIC_PROGRAM, FULL_PROGRAM]


def test_wrong_warmups(refused, monkeypatch):
    assert "float16" in refused("warmup", "--dtype", "float16")
    monkeypatch.setattr(warmup, "cache", lambda: {"folder": None, "programs": 0, "bytes": 0, "writable": False})
    assert "NUMBA_CACHE_DIR" in refused("warmup", status=1)


@pytest.fixture
def examples(tmp_path, monkeypatch):
    text = '"""Say hello.\n\nMore."""\n\ndef main(to="all"):\n    print("hello", to)\n'
    (tmp_path / "first_steps.py").write_text(text)
    (tmp_path / "second.py").write_text('"""Break when imported."""\nimport no_such_module\n')
    (tmp_path / "_private.py").write_text("")
    monkeypatch.setattr(example.examples, "__path__", [str(tmp_path)])
    yield
    sys.modules.pop("fastmlp.examples.first_steps", None)


def test_examples(call, refused, examples):
    listed = "first_steps  Say hello.\nsecond       Break when imported.\n"
    assert call("example")[:2] == (0, listed)
    assert call("example", "--list")[:2] == (0, listed)
    assert call("example", "first-steps")[:2] == (0, "hello all\n")
    assert call("example", "first_steps", "you")[:2] == (0, "hello you\n")
    assert "too many positional arguments" in refused("example", "first_steps", "you", "me")
    assert "did you mean 'second'?" in refused("example", "secnd")
    assert "no_such_module" in refused("example", "second", status=1)


def test_the_demo_needs_no_name():
    command = [sys.executable, "-m", "fastmlp", "--epochs", "2", "--no-sklearn"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Training 64-100-10 on 1347 handwritten digits" in done.stdout
    assert "epoch 2/2" in done.stdout


def test_demo(call, monkeypatch):
    monkeypatch.setattr(demo, "REPEATS", 1)
    monkeypatch.setattr(demo, "PAUSE", 0)
    status, out, err = call("demo", "--epochs", 20, "--threads", 1)
    assert (status, err) == (0, "")
    assert ": AVX" in out or ": baseline" in out or ": NEON" in out
    assert out.count("  epoch ") == 11  # the first, and each tenth of them
    ours, theirs = (
        re.search(rf"  {name} .*loss (\S+)  test accuracy (\S+)%", out) for name in ("fastmlp", "scikit-learn")
    )
    assert float(ours[1]) == pytest.approx(float(theirs[1]), abs=2e-3)  # of float32
    assert float(ours[2]) > 90


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["demo", "--threads", "x"]])
def test_wrong_options_of_the_demo(call, arguments):
    status, _, err = call(*arguments)
    assert status == 2
    assert err.startswith("usage: fastmlp demo")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(call, command):
    status, out, _ = call(*command, "--help")
    assert status == 0
    assert "exit status" in out


def test_version(call):
    assert call("--version") == (0, f"fastmlp {fastmlp.__version__}\n", "")


def test_a_name_that_is_no_command(call):
    assert call("trian")[0] == 2


def test_an_interruption(refused, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "collect", interrupt)
    assert "interrupted" in refused("info", status=130)


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_a_reader_that_stops_early(iris):
    command = f"{sys.executable} -m fastmlp info --json | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Traceback" not in done.stderr


def test_what_the_base_needs_is_enough_for_the_rest():
    """The subcommands but train and predict import nothing of the extra."""
    blocked = ["pandas", "pyarrow", "skops", "matplotlib", "rich"]
    script = f"""
import sys
for name in {blocked}: sys.modules[name] = None
from fastmlp.cli.main import main
assert main(["info"]) == 0 and main(["example"]) == 0
sys.exit(main(["train", "table.csv", "--target", "y"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "pip install 'fastmlp[cli]'" in done.stderr
