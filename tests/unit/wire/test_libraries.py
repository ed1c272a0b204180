"""Values of pandas, pyarrow, PIL and torch arrive as they were."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from zturbo.errors import EncodeError
from zturbo.wire.payload import pack_one, take, unpack_one


def arrived(content: Any) -> Any:
    blob, buffers = pack_one(take({"in": [content]}))
    return unpack_one(blob, [bytes(buffer) for buffer in buffers])["in"][0]


def test_pandas() -> None:
    pd = pytest.importorskip("pandas", reason="needs pandas, which the test extra has")
    index = pd.date_range("2020-01-01", periods=3, freq="D", tz="Europe/Rome", name="day")
    table = pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": np.array([1.5, np.nan, 2], np.float32),
            "s": ["a", None, "c"],
            "o": pd.Series([1, "x", None], dtype=object, index=None).to_numpy(),
            "c": pd.Categorical(["u", "v", "u"], ordered=True),
            "n": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "t": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "z": pd.to_datetime(["2020-01-01", None, "2020-01-03"]).tz_localize("UTC"),
            "st": pd.array(["x", None, "z"], dtype="string"),
        },
        index=index,
    )
    table.attrs["from"] = "test"
    got = arrived(table)
    pd.testing.assert_frame_equal(got, table, check_freq=True, check_exact=True)
    assert got.attrs == table.attrs and list(got.dtypes) == list(table.dtypes)
    got.loc[got.index[0], "i"] = 5  # it may be written to
    large = pd.DataFrame(np.arange(50_000.0).reshape(-1, 5))
    pd.testing.assert_frame_equal(arrived(large), large, check_exact=True)
    for other in (table.iloc[:0], table[[]], pd.DataFrame(), table.reset_index(drop=True)):
        pd.testing.assert_frame_equal(arrived(other), other, check_exact=True)
    for name in table:
        pd.testing.assert_series_equal(arrived(table[name]), table[name], check_exact=True)
    many = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])
    for one in (many, pd.RangeIndex(2, 9, 3, name="r"), pd.CategoricalIndex(["a", "b"]), pd.Index([1, "a"])):
        pd.testing.assert_index_equal(arrived(one), one, exact=True)
    for scalar in (pd.Timestamp("2020-01-01 03:04:05.000000007", tz="Europe/Rome"), pd.Timedelta("3ns")):
        assert arrived(scalar) == scalar and type(arrived(scalar)) is type(scalar)
    assert arrived(pd.NA) is pd.NA and arrived(pd.NaT) is pd.NaT
    with pytest.raises(EncodeError, match="astype"):
        pack_one(pd.Series(pd.period_range("2020", periods=2, freq="D")))


def test_pyarrow() -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which the test extra has")
    table = pa.table({"a": [1, None, 3], "s": ["x", "y", None], "l": [[1], [], None]})
    assert arrived(table).equals(table) and type(arrived(table)) is pa.Table
    batch = pa.RecordBatch.from_pylist([{"a": 1}])
    assert arrived(batch).equals(batch) and type(arrived(batch)) is pa.RecordBatch
    assert arrived(batch.slice(0, 0)).equals(batch.slice(0, 0))
    with pytest.raises(EncodeError, match=r"pyarrow\.table"):
        pack_one(pa.array([1]))


def test_pil() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow, which the test extra has")
    for mode in ("1", "L", "P", "RGB", "RGBA", "F", "I"):
        picture = image.new(mode, (5, 3), 1)
        picture.info["dpi"] = (72, 72)
        got = arrived(picture)
        assert type(got) is type(picture) and got == picture and got.info == picture.info

    class Mine(image.Image):  # type: ignore[misc, name-defined]
        pass

    Mine.__module__ = "PIL.mine"
    with pytest.raises(EncodeError, match=r"image\.copy"):
        pack_one(Mine())


def test_torch() -> None:
    torch = pytest.importorskip(
        "torch", reason="NOT TESTED: torch is not installed, and is too large for the test extra"
    )
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        tensor = torch.ones(2, 3).to(dtype).t()
        got = arrived(tensor)
        assert got.dtype == dtype and torch.equal(got, tensor)
    assert arrived(torch.ones(1, requires_grad=True)).requires_grad
    with pytest.raises(EncodeError, match="detach"):
        pack_one(torch.ones(1, requires_grad=True) * 2)


def test_nobody_imports_them_unasked() -> None:
    code = (
        "import sys; from zturbo.wire.payload import pack_one; pack_one((1, {2})); "
        "names = 'pandas', 'pyarrow', 'PIL', 'torch', 'numpy', 'zturbo.wire.libraries'; "
        "print([name for name in names if name in sys.modules])"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert got.stdout.strip() == "[]"
