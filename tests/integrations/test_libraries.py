"""Libraries that read versions through the filesystem. `nox -s integrations` installs them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aioassets.integrations.fsspec import AssetFileSystem

from .conftest import push

pytestmark = pytest.mark.once

PATH = "team/table@prod"
URL = f"aioassets://{PATH}"
ROWS = 1000
SUM = ROWS * (ROWS - 1) // 2


@pytest.fixture(scope="module")
def pandas() -> Any:
    return pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def table(options: dict[str, Any], folder: Path, parquet: Any) -> ModuleType:
    """Push two Parquet files and a CSV file, and return pyarrow."""
    pyarrow: ModuleType = pytest.importorskip("pyarrow")
    rows = pyarrow.table({"a": range(ROWS), "b": [str(number) for number in range(ROWS)]})
    (folder / "table/parts").mkdir(parents=True)
    for part in (0, 1):
        parquet.write_table(rows, folder / f"table/parts/{part}.parquet", row_group_size=100)
    lines = [f"{number},{number}\n" for number in range(ROWS)]
    (folder / "table/rows.csv").write_text("".join(["a,b\n", *lines]))
    push(options, folder / "table", "team/table", alias="prod")
    return pyarrow


@pytest.mark.usefixtures("table")
class TestTables:
    def test_pandas(self, pandas: Any, options: dict[str, Any]) -> None:
        assert pandas.read_parquet(f"{URL}/parts/0.parquet", storage_options=options)["a"].sum() == SUM
        assert pandas.read_csv(f"{URL}/rows.csv", storage_options=options)["a"].sum() == SUM

    def test_a_dataset_of_pyarrow(self, fs: AssetFileSystem, table: Any) -> None:
        dataset = pytest.importorskip("pyarrow.dataset").dataset(f"{PATH}/parts", filesystem=fs, format="parquet")
        assert dataset.count_rows() == 2 * ROWS
        assert dataset.to_table(columns=["a"], filter=table.compute.field("a") < 10).num_rows == 20

    def test_columns_that_fsspec_reads_ahead(self, fs: AssetFileSystem, parquet: Any) -> None:
        ahead = pytest.importorskip("fsspec.parquet")
        with ahead.open_parquet_file(f"{PATH}/parts/0.parquet", fs=fs, columns=["a"], engine="pyarrow") as file:
            assert parquet.read_table(file, columns=["a"]).num_rows == ROWS

    def test_polars(self, fs: AssetFileSystem) -> None:
        polars = pytest.importorskip("polars")
        with fs.open(f"{PATH}/parts/0.parquet") as file:
            assert polars.read_parquet(file)["a"].sum() == SUM
        dataset = pytest.importorskip("pyarrow.dataset").dataset(f"{PATH}/parts", filesystem=fs)
        assert polars.scan_pyarrow_dataset(dataset).filter(polars.col("a") < 10).collect().shape == (20, 2)

    def test_duckdb(self, fs: AssetFileSystem) -> None:
        with pytest.importorskip("duckdb").connect() as connection:
            connection.register_filesystem(fs)
            (row,) = connection.sql(f"select sum(a) from read_parquet('{URL}/parts/*.parquet')").fetchall()
            assert row == (2 * SUM,)
            (row,) = connection.sql(f"select sum(a) from read_csv('{URL}/rows.csv')").fetchall()
            assert row == (SUM,)


def test_zarr(options: dict[str, Any], folder: Path) -> None:
    zarr, numpy = pytest.importorskip("zarr"), pytest.importorskip("numpy")
    values = numpy.arange(100).reshape(10, 10)
    zarr.open_group(str(folder / "group"), mode="w").create_array("x", data=values, chunks=(5, 5))
    push(options, folder / "group", "team/group")
    group = zarr.open_group("aioassets://team/group:0.0", mode="r", storage_options=options)
    assert (group["x"][3:7, 3:7] == values[3:7, 3:7]).all()


def test_safetensors(options: dict[str, Any], fs: AssetFileSystem, folder: Path) -> None:
    safetensors, numpy = pytest.importorskip("safetensors.numpy"), pytest.importorskip("numpy")
    safetensors.save_file({"w": numpy.ones((4, 4)), "v": numpy.zeros(3)}, str(folder / "w.safetensors"))
    push(options, folder / "w.safetensors", "team/weights")
    assert safetensors.load(fs.cat_file("team/weights:0.0"))["w"].sum() == 16
