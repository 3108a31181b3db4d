"""Fisher information embedding against loops over nodes, and its kernel."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from gnnlib import as_csr
from gnnlib.embed import FisherInformationEmbedding, SupervisedFIE
from gnnlib.embed.fisher import fisher_step, nystroem, spherical_kmeans
from tests.sparse.graphs import draw
from tests.tolerances import assert_close


@pytest.mark.parametrize("norm", ["softmax", "sum"])
def test_a_step_equals_the_loop(norm: Any) -> None:
    edge_index, x = draw(12, 12, 40), torch.randn(12, 5)
    means = normalize(torch.randn(3, 5), dim=1)
    out = fisher_step(as_csr(edge_index, 12), x, means, norm)
    for v in range(12):
        sources = edge_index[0, edge_index[1] == v]
        rows = x[sources].double()
        gamma = (normalize(rows, dim=1) @ means.double().t() / 5).softmax(1)
        a = gamma.softmax(0) if norm == "softmax" else gamma / gamma.sum(0)
        wanted = (a.t() @ rows - means.double()).flatten() if len(sources) else torch.zeros(15).double()
        assert_close(out[v], wanted.float())
    doubled = fisher_step(as_csr(edge_index.repeat(1, 2), 12), x, means, norm)
    assert_close(doubled, out)  # a neighbourhood that is there twice is the same neighbourhood
    one = fisher_step(as_csr(edge_index, 12), x, means[:1], norm)
    v = int(edge_index[1, 0])
    assert_close(one[v], x[edge_index[0, edge_index[1] == v]].mean(0) - means[0])


@pytest.mark.parametrize("norm", ["softmax", "sum"])
def test_heads_are_mixtures_over_their_columns(norm: Any) -> None:
    adj, x, bias = as_csr(draw(12, 12, 40), 12), torch.randn(12, 6), torch.randn(3, 2)
    means = normalize(torch.randn(3, 2, 3), dim=2)
    out = fisher_step(adj, x, means.flatten(1), norm, bias.flatten(), n_heads=2).view(12, 3, 2, 3)
    for head in range(2):
        part = x[:, 3 * head : 3 * head + 3]
        alone = fisher_step(adj, part, means[:, head], norm, bias[:, head])
        assert_close(out[:, :, head], alone.view(12, 3, 3))


def test_the_estimator_with_heads() -> None:
    graph, x = networkx.karate_club_graph(), torch.randn(34, 6)
    z = FisherInformationEmbedding(1, 6, 3, n_heads=2).fit_transform(graph, features=x)
    assert z.shape == (34, 6 + 3 * 6)
    one = FisherInformationEmbedding(1, 6, 3).fit_transform(graph, features=x)
    assert np.array_equal(z[:, :6], one[:, :6])
    assert not np.allclose(z, one)
    for method in (FisherInformationEmbedding, SupervisedFIE):
        with pytest.raises(ValueError, match=r"n_heads=4 does not divide the 6 columns of a layer"):
            method(1, 6, 3, n_heads=4).fit(graph, [0, 1] * 17, features=x)


def test_the_map_gives_back_the_kernel_between_anchors() -> None:
    anchors = normalize(torch.randn(6, 9), dim=1)
    mapped = nystroem(anchors, anchors, 1.0)
    assert torch.allclose(mapped @ mapped.t(), (anchors @ anchors.t() - 1).exp(), atol=0.1)
    assert torch.allclose(nystroem(3 * anchors, anchors, 1.0), 3 * mapped, atol=1e-5)


def test_kmeans_finds_separated_directions() -> None:
    rows = torch.eye(4).repeat(10, 1) + 0.01 * torch.randn(40, 4)
    centres = spherical_kmeans(rows, 4, torch.Generator().manual_seed(0))
    assert torch.allclose(centres.norm(dim=1), torch.ones(4), atol=1e-5)
    best = (centres @ torch.eye(4)).max(0).values
    assert float(best.min()) > 0.99


def test_kmeans_of_fewer_rows_than_empty_centres() -> None:
    found = spherical_kmeans(torch.rand(2, 3), 64, torch.Generator().manual_seed(0))
    assert torch.allclose(found.norm(dim=1), torch.ones(64))


def test_the_estimator() -> None:
    graph, x = networkx.karate_club_graph(), torch.randn(34, 6)
    method = FisherInformationEmbedding(2, 5, 3)
    z = method.fit_transform(graph, features=x)
    assert z.shape == (34, 2 * 5 + 3 * 5)
    assert z.dtype == np.float32
    assert np.array_equal(z, FisherInformationEmbedding(2, 5, 3).fit_transform(graph, features=x))
    with pytest.raises(ValueError, match="no features came"):
        method.fit(graph)
    for wrong in (float("nan"), float("inf")):
        bad = x.clone()
        bad[3, 1] = wrong
        with pytest.raises(ValueError, match="1 of 34 rows of features hold NaN or infinity"):
            method.fit(graph, features=bad)
        with pytest.raises(ValueError, match="1 of 34 rows of features hold NaN or infinity"):
            SupervisedFIE(1, 3, 2).fit(graph, torch.arange(34) % 2, features=bad)
    with pytest.raises(ValueError, match="33 rows of features for 34 nodes"):
        method.fit(graph, features=x[:33])
