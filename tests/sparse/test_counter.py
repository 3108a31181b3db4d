"""The counter-based numbers: the same words from Python's integers and from torch's."""

from __future__ import annotations

import pytest
import torch

from gnnlib.sparse import counter, random


@pytest.mark.parametrize("n", [0, 1, 7, 2**40])
def test_words_of_torch_are_those_of_python(n: int) -> None:
    states = [0, 1, 2**62 + 5, -(2**63), -3]
    expected = [counter.draw(state, n) for state in states]
    start = torch.tensor(states)
    for words in (random.draw(start, n), random.draw(start, torch.tensor(n))):
        assert [w % 2**64 for w in words.tolist()] == expected
