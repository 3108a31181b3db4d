"""Dropout as a layer; its function is tested in tests/sparse/test_dropout.py."""

from __future__ import annotations

import torch

from gnnlib.nn.dropout import Dropout


def test_drops_while_training() -> None:
    module, x = Dropout(0.5), torch.rand(60, 100)
    assert isinstance(module, torch.nn.Dropout)
    assert 0.4 < float((module(x) == 0).double().mean()) < 0.6
    assert module.eval()(x) is x


def test_in_place() -> None:
    x = torch.rand(60, 100)
    assert Dropout(0.5, inplace=True)(x) is x
    assert 0.4 < float((x == 0).double().mean()) < 0.6
