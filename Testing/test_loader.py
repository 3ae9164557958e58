"""Batches that threads make in advance."""

import time

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.training.loader import Loader


def draw(step: int) -> int:
    if step == 20:
        raise UserError("damaged")
    time.sleep(0.002 * (step % 3))
    return step


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_come_in_order_and_errors_are_raised(workers):
    loader = Loader(draw, range(4, 20), workers)
    assert list(loader) == list(range(4, 20)) and loader.waited > 0
    with pytest.raises(UserError, match=r"damaged"):
        list(Loader(draw, range(18, 22), workers))


@pytest.mark.parametrize("workers", [0, 3])
def test_only_a_few_batches_are_made_in_advance(workers):
    made = []
    assert next(iter(Loader(made.append, range(100), workers))) is None
    assert 1 <= len(made) <= 2 * workers + 1
