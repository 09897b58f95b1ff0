#!/usr/bin/env python3
"""Reads a directory of shards with DuckDB, pyarrow and Hugging Face's datasets, and compares what they see.

    pip install duckdb pyarrow datasets pillow
    python scripts/read_shards.py SHARDS

Nothing of tandem is needed: shards are ordinary parquet files (docs/format/shard.md).
"""

import hashlib
import io
import json
import pathlib
import sys

import datasets
import duckdb
import pyarrow.parquet as pq
from PIL import Image


def main(directory: pathlib.Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    rows = sum(f["rows"] for f in manifest["files"])
    for f in manifest["files"]:
        digest = hashlib.sha256((directory / f["name"]).read_bytes()).hexdigest()
        assert digest == f["sha256"], f["name"]

    # DuckDB: SQL over all files.
    pattern = str(directory / "*.parquet")
    n, captions, size = duckdb.sql(
        f"select count(*), sum(len(captions)), sum(octet_length(image)) from '{pattern}'"
    ).fetchall()[0]
    assert n == rows, (n, rows)
    print(f"duckdb {duckdb.__version__}: {n} rows, {captions} captions, {size} bytes of images")
    for split, count in duckdb.sql(f"select split, count(*) from '{pattern}' group by 1 order by 1").fetchall():
        print(f"  split {split}: {count} rows")

    # pyarrow: a column, and a row group at random.
    first = pq.ParquetFile(directory / manifest["files"][0]["name"])
    group = first.read_row_group(first.num_row_groups - 1)
    row = group.slice(0, 1).to_pylist()[0]
    picture = Image.open(io.BytesIO(row["image"]))
    assert picture.size[0] * picture.size[1] == row["width"] * row["height"]
    print(f"pyarrow {pq.core.pa.__version__}: {group.num_rows} rows in the last group; key {row['key']}, {picture.format} {picture.size}, {row['captions'][:1]}")

    # datasets: told that the column holds pictures, it decodes them.
    split = manifest["files"][0]["split"]
    files = [str(directory / f["name"]) for f in manifest["files"] if f["split"] == split]
    data = datasets.load_dataset("parquet", data_files={split: files}, split=split)
    data = data.cast_column("image", datasets.Image())
    assert len(data) == manifest["splits"][split]["rows"]
    print(f"datasets {datasets.__version__}: {len(data)} rows of split {split}; first image {data[0]['image'].size}, features {data.features}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
