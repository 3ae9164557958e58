"""Smooth arrays as differences: nothing is lost, and the file is smaller."""

import io

import numpy as np
import pytest

from SlicRegLib.images.archive import ArchiveError
from SlicRegLib.images.arrays import read_arrays
from SlicRegLib.images.differences import pack_differences, take_differences


def to_file(arrays: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 6, 7), (3, 4, 1, 15), (1, 1, 1)])
def test_every_value_comes_back(dtype, shape):
    """The ends of the type beside each other too, whose differences it cannot hold."""
    limits = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    values.flat[: 2 * (values.size // 2)] = np.tile([limits.min, limits.max], values.size // 2)
    values[-1] = np.random.default_rng(1).integers(limits.min, limits.max, shape[1:], dtype, endpoint=True)
    before = values.copy()
    back = take_differences(read_arrays(to_file(pack_differences("hu", values))), "hu", values.dtype.str[1:], shape)
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(values, before)
    assert back.dtype == dtype and back.flags.c_contiguous


def test_a_file_with_the_values_themselves_is_read():
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    np.testing.assert_array_equal(take_differences({"hu": values}, "hu", "i2", (None, None, None)), values)


def test_a_smooth_noisy_image_becomes_smaller():
    i, j, k = np.indices((50, 50, 50))
    values = 500 * np.sin(i / 9) * np.cos(j / 7) * np.sin(k / 11) + np.random.default_rng(0).normal(0, 1, i.shape)
    hu = values.round().astype(np.int16)
    assert len(to_file(pack_differences("hu", hu))) < 0.7 * len(to_file({"hu": hu}))


def test_what_is_missing_or_of_another_type_is_told():
    with pytest.raises(ArchiveError, match="it lacks hu_differences"):
        take_differences({}, "hu", "i2", (None, None, None))
    with pytest.raises(ArchiveError, match="wrong type or size"):
        take_differences(pack_differences("hu", np.zeros((2, 2, 2), np.uint8)), "hu", "i2", (None, None, None))
