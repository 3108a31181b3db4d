"""The linear map of sparse input features: the dense product, by the non-zero entries alone."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from gnnlib.sparse import features
from gnnlib.sparse.dropout import feature_dropout, known_zeros
from gnnlib.sparse.features import feature_linear
from tests.tolerances import assert_close


def sparse_features(density: float = 0.02) -> torch.Tensor:
    x = torch.rand(600, 400, dtype=torch.float64) + 0.5
    return x * (torch.rand(600, 400) < density)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_dense_product(training: bool, bias: bool) -> None:
    x = feature_dropout(sparse_features(), 0.3, training)
    w = torch.randn(5, 400, dtype=torch.float64, requires_grad=True)
    b = torch.randn(5, dtype=torch.float64, requires_grad=True) if bias else None
    inputs = [w] if b is None else [w, b]
    with mock.patch.object(F, "linear", side_effect=AssertionError("dense")):
        out = feature_linear(x, w, b)
    wanted = F.linear(x, w, b)
    assert_close(out, wanted)
    found = torch.autograd.grad(out.square().sum(), inputs)
    assert_close(list(found), list(torch.autograd.grad(wanted.square().sum(), inputs)))


def test_changed_features_are_seen() -> None:
    x, w = sparse_features(), torch.randn(3, 400, dtype=torch.float64)
    for training in (True, False):
        y = feature_dropout(x.clone(), 0.3, training)
        feature_linear(y, w)
        y[3] = 1.0
        assert_close(feature_linear(y, w), F.linear(y, w))


@pytest.mark.parametrize("density", [0.02, 0.9])
def test_other_features_go_through_torch(density: float) -> None:
    """Those that dropout did not return are not counted; those that are mostly non-zero are multiplied."""
    x, w = sparse_features(density), torch.randn(3, 400, dtype=torch.float64)
    if density > 0.5:
        feature_dropout(x, 0.3, False)
    assert known_zeros(x) is None
    with mock.patch.object(features, "spmm", side_effect=AssertionError("sparse")):
        assert_close(feature_linear(x, w), F.linear(x, w))
        grown = sparse_features().requires_grad_()
        assert_close(feature_linear(grown, w), F.linear(grown, w))
