"""Arguments outside their range are refused by name where they come in, not by what breaks later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gnnlib.nn as nn
from gnnlib.nn import hyper
from gnnlib.nn.aggr import aggregation_resolver
from gnnlib.sparse import Hypergraph

INDEX = torch.tensor([[0, 1, 2, 1], [0, 0, 1, 1]])
X = torch.ones(3, 3)
GROUPED: dict[str, Any] = {"fusion": "adaptive", "num_groups": 2}

Row = tuple[str, Callable[[], Any]]
VALUES: list[Row] = [
    (r"UniGCNIIConv: x_0 has shape \[1, 3\] but x has \[3, 3\]", lambda: nn.UniGCNIIConv(3)(X, X[:1], INDEX)),
    (r"EDHNNConv: x_0 has shape \[1, 3\] but x", lambda: nn.EDHNNConv(3)(X, X[:1], INDEX)),
    (r"EDHNNIIConv: x_0 has shape \[3, 1\] but x", lambda: nn.EDHNNIIConv(3)(X, X[:, :1], INDEX)),
    (r"UniGCNIIConv: alpha=1\.5; pass a number from 0 to 1", lambda: nn.UniGCNIIConv(3, alpha=1.5)),
    (r"EDHNNConv: alpha=-0\.1", lambda: nn.EDHNNConv(3, alpha=-0.1)),
    ("EDHNNIIConv: dropout=1; pass a number from 0 up to, but not, 1", lambda: nn.EDHNNIIConv(3, dropout=1)),
    ("AllDeepSetsConv: dropout=-1", lambda: nn.AllDeepSetsConv(3, 4, dropout=-1)),
    ("AllSetTransformerConv: dropout=2", lambda: nn.AllSetTransformerConv(3, 4, dropout=2)),
    ("UniGATConv: dropout=1", lambda: nn.UniGATConv(3, 4, dropout=1.0)),
    ("ASAPooling: dropout=2", lambda: nn.ASAPooling(3, dropout=2)),
    ("EdgePooling: dropout=nan", lambda: nn.EdgePooling(3, dropout=float("nan"))),
    ("DiffPool: dropout=-1", lambda: nn.DiffPool(3, 2, dropout=-1)),
    (
        "UniSAGEConv: second_aggr='foo' is unknown; choose 'sum', 'mean', 'max' or 'min'",
        lambda: nn.UniSAGEConv(3, 4, second_aggr="foo"),
    ),  # type: ignore[arg-type]
    ("GraclusPooling: aggr='foo' is unknown", lambda: nn.GraclusPooling("foo")),  # type: ignore[arg-type]
    ("KMISPooling: aggr='foo' is unknown; .* or None", lambda: nn.KMISPooling(aggr="foo")),  # type: ignore[arg-type]
    ("KMISPooling: x has 3 features but in_channels=5", lambda: nn.KMISPooling(5, score="linear")(X, INDEX)),
    (r"MinCutPooling: temp=0\.0; pass a temperature above 0", lambda: nn.MinCutPooling(3, 2, temp=0.0)),
    (r"PhenomNNSimple: K=2\.5; pass a whole number, 0 or more", lambda: nn.PhenomNNSimple(K=2.5)),  # type: ignore[arg-type]
    ("GraphMultisetTransformer: k=0", lambda: nn.GraphMultisetTransformer(4, 0)),
    ("LCMAggregation: op='foo' is unknown", lambda: nn.LCMAggregation(3, 3, op="foo")),  # type: ignore[arg-type]
    (
        "SetTransformerAggregation: channels=6 is not divisible by heads=4",
        lambda: nn.SetTransformerAggregation(6, heads=4),
    ),
    ("SortAggregation: k=0; pass a whole number, 1 or more", lambda: nn.SortAggregation(0)),
    ("SortAggregation: k=-1", lambda: nn.SortAggregation(-1)),
    ("AllSetTransformerConv: heads=0", lambda: nn.AllSetTransformerConv(3, 4, heads=0)),
    ("HNHNConv: hidden_channels=0", lambda: nn.HNHNConv(3, 4, hidden_channels=0)),
    ("NeuralFingerprint: num_layers=0", lambda: nn.NeuralFingerprint(4, 5, 6, 0)),
    (
        "hyperedge_group names group 2 but the hypergraph has 2 groups",
        lambda: nn.HGNNPlusConv(3, 4, **GROUPED)(X, INDEX, hyperedge_group=torch.tensor([0, 2])),
    ),
    (
        r"2 hyperedges but 3 nodes and 3",
        lambda: nn.HGNNPlusConv(3, 4, **GROUPED)(
            X, Hypergraph(INDEX, 3), hyperedge_group=torch.tensor([0, 1, 1])
        ),
    ),
    (
        r"attribute_hypergraph: groups has shape \[1, 1, 1\]",
        lambda: hyper.attribute_hypergraph(torch.ones(1, 1, 1, dtype=torch.int64)),
    ),
    (
        "MultiAggregation: mode='attn' takes vectors; x has 3 dimensions",
        lambda: nn.MultiAggregation(
            ["sum", "max"], mode="attn", mode_kwargs={"in_channels": 3, "out_channels": 3}
        )(X[None]),
    ),
]
KINDS: list[Row] = [
    (r"HGNNPlusConv: hyperedge_group is torch\.float32",
     lambda: nn.HGNNPlusConv(3, 4, **GROUPED)(X, INDEX, hyperedge_group=torch.zeros(2))),
    (r"attribute_hypergraph: groups is torch\.float32", lambda: hyper.attribute_hypergraph(torch.ones(3))),
    ("SortAggregation: missing a required argument: 'k'; pass its arguments .* as aggr_kwargs of a layer",
     lambda: nn.SAGEConv(3, 4, aggr="sort")),
    ("GRUAggregation: missing .* as aggr_kwargs of a layer or aggrs_kwargs",
     lambda: nn.MultiAggregation(["sum", "gru"])),
    ("SortAggregation: got an unexpected keyword argument 'depth'",
     lambda: aggregation_resolver("sort", 3, depth=2)),
    *((f"{f.__name__}: got Tensor; pass Hypergraph", lambda f=f: f(INDEX))
      for f in (hyper.clique_expansion, hyper.line_expansion, hyper.star_expansion, hyper.star_laplacian,
                hyper.zhou_laplacian)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "call"), VALUES, ids=[row[0][:30] for row in VALUES])
def test_values(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("message", "call"), KINDS, ids=[row[0][:30] for row in KINDS])
def test_kinds(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_attributes_of_no_node_or_of_no_kind() -> None:
    for shape in ((0,), (0, 2), (3, 0)):
        h = hyper.attribute_hypergraph(torch.zeros(shape, dtype=torch.int64))
        assert (h.num_nodes, h.num_hyperedges) == (shape[0], 0)
