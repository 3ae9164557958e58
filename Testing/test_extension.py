"""Values continued to where they are not known."""

import torch

from SlicRegLib.geometry.extension import extend


def test_what_is_known_stays_and_a_constant_is_continued():
    known = torch.zeros(9, 8, 7, dtype=torch.bool)
    known[2:4, 3:5, 3] = True
    values = torch.where(known, torch.tensor([3.0, -2.0])[:, None, None, None], torch.nan)
    result = extend(values, known)
    torch.testing.assert_close(result, torch.tensor([3.0, -2.0])[:, None, None, None].expand(2, 9, 8, 7))


def test_each_side_takes_what_is_near():
    values, known = torch.zeros(1, 10, 3, 3), torch.zeros(10, 3, 3, dtype=torch.bool)
    known[0], known[9] = True, True
    values[0, 9] = 1.0
    result = extend(values, known)[0, :, 1, 1]
    assert result[:5].tolist() == [0] * 5 and result[5:].tolist() == [1] * 5


def test_nothing_known_gives_zeros_and_all_known_everything():
    values = torch.randn(3, 4, 4, 4)
    assert not extend(values, torch.zeros(4, 4, 4, dtype=torch.bool)).any()
    assert torch.equal(extend(values, torch.ones(4, 4, 4, dtype=torch.bool)), values)
