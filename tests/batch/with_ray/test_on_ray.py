"""Ray Data: two workers give the rows of one process. The tests share one cluster, which is started first."""

import dataclasses

import pyarrow
import pytest
from batch.deadly import Deadly
from batch.stubs import read_rows
from batch.with_ray.comparison import lines
from pyarrow import parquet

from todre.batch.on_ray import LOCAL, on_ray
from todre.batch.parquet import ParquetRows, write_parquet
from todre.batch.run import run
from todre.errors import InvalidValueError, LoadError

pytestmark = pytest.mark.usefixtures("cluster")


def test_two_workers_answer_as_one_process_does(source, answering, here, tmp_path):
    output = tmp_path / "out.jsonl"
    summary = run(source, output, answering.conditions(), on_ray(source, answering, LOCAL, 2))
    assert (summary.tally.answered, summary.tally.failed) == (20, 1)
    assert lines(output) == lines(here)


def test_what_is_done_is_not_done_again(source, answering, here, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"".join(here.read_bytes().splitlines(keepends=True)[:12]) + b'{"id": "torn')
    summary = run(source, output, answering.conditions(), on_ray(source, answering, LOCAL, 1))
    assert summary.done_before == 12
    assert lines(output) == lines(here)


def test_a_model_that_is_not_there_ends_the_run(source, answering, tmp_path):
    wrong = dataclasses.replace(answering, model="/no/such/model")
    with pytest.raises(LoadError, match="/no/such/model"):
        run(source, tmp_path / "out.jsonl", wrong.conditions(), on_ray(source, wrong, LOCAL, 1))


def test_a_row_that_ends_its_worker_costs_itself_alone(source, answering, here, tmp_path):
    deadly = Deadly(**vars(answering))
    output = tmp_path / "out.jsonl"
    summary = run(source, output, deadly.conditions(), on_ray(source, deadly, LOCAL, 2))
    assert (summary.tally.answered, summary.tally.failed) == (19, 2)
    found = {line.get("custom_id", line["id"]): line for line in lines(output)}
    assert found["row 2"]["error"]["type"] == "ProcessDied"
    others = [line for line in lines(here) if line["id"] != "row 2"]
    assert sorted((line for name, line in found.items() if name != "row 2"), key=str) == others


def test_parquet_in_and_out(source, answering, here, tmp_path):
    """Rows with paths, bytes and data sets' pictures are the rows of the JSON lines."""
    plain = [record.values for record in source.records() if not record.openai]
    for place, kind in ((0, "bytes"), (1, "bytes")):
        plain[place]["image"] = {kind: (source.folder / plain[place]["image"]).read_bytes(), "path": None}
    table = tmp_path / "rows.parquet"
    pictures = [row["image"] if isinstance(row["image"], dict) else {"path": row["image"]} for row in plain]
    schema = pyarrow.schema(
        {"id": pyarrow.string(), "question": pyarrow.string(), "retain": pyarrow.float64(),
         "max_new_tokens": pyarrow.int64(),
         "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})}
    )  # fmt: skip
    rows = [{**row, "image": each} for row, each in zip(plain, pictures, strict=True)]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), table, row_group_size=7)
    inner = dataclasses.replace(answering, folder=source.folder)
    rows = ParquetRows(table)
    assert [rows.read(record.place) for record in rows.records()] == list(rows.records())
    output, target = tmp_path / "out.parquet.jsonl", tmp_path / "out.parquet"
    run(rows, output, inner.conditions(), on_ray(rows, inner, LOCAL, 2))
    write_parquet(output, target)
    found = {row["id"]: row for row in parquet.read_table(target).to_pylist()}
    expected = {row["id"]: row for row in read_rows(here) if "fingerprint" in row}
    assert set(found) == set(expected)
    for id_, row in expected.items():
        assert found[id_]["answer"] == row.get("answer")
        assert found[id_]["error_type"] == row.get("error", {}).get("type")
        pair = row.get("visual_tokens") or {}
        assert (found[id_]["visual_tokens_before"], found[id_]["visual_tokens_after"]) == (
            pair.get("before"),
            pair.get("after"),
        )


def test_an_output_of_requests_as_parquet(here, tmp_path):
    write_parquet(here, tmp_path / "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    asked = next(row for row in rows if row["id"] == "asked")
    assert asked["model"] == "todre-tiny"
    assert asked["visual_tokens_after"] > 0
    assert len(rows) == 21


def test_what_is_no_table_of_rows(tmp_path):
    (tmp_path / "rows.parquet").write_text("no table")
    with pytest.raises(InvalidValueError, match="cannot be read as Parquet"):
        list(ParquetRows(tmp_path / "rows.parquet").records())
    parquet.write_table(pyarrow.table({"custom_id": ["a"], "body": ["{}"]}), tmp_path / "asked.parquet")
    with pytest.raises(InvalidValueError, match="JSON lines"):
        list(ParquetRows(tmp_path / "asked.parquet").records())
