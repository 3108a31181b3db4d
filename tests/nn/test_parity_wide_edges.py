"""Wide edge features, which are mapped before any edge is passed over, against PyG with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gnnlib.nn import GATv2Conv, TransformerConv
from gnnlib.nn.conv.messages import maps_first
from tests.nn.test_parity import F_IN, GRAPHS, Build, N, build, compare, each, leaf, pair
from tests.nn.test_parity_messages import gine, pna
from tests.tolerances import assert_close

WIDE = 20
LAYERS = [
    build("GATv2Conv", 4, heads=2, edge_dim=WIDE),
    build("GATv2Conv", 9, heads=2, edge_dim=WIDE, add_self_loops=False),
    build("TransformerConv", 4, heads=2, edge_dim=WIDE),
    build("TransformerConv", 9, heads=2, edge_dim=WIDE, beta=True),
    build("ResGatedGraphConv", 4, edge_dim=WIDE),
    build("ResGatedGraphConv", 9, edge_dim=WIDE, aggr="mean"),
    build("ResGatedGraphConv", 4, edge_dim=WIDE, act=nn.Tanh()),
    build("GENConv", 9, edge_dim=WIDE, aggr="add"),
    build("GENConv", 9, edge_dim=WIDE),
    gine(edge_dim=WIDE),
    gine(edge_dim=WIDE, aggr="max"),
    pna(edge_dim=WIDE),
    pna(edge_dim=WIDE, pre_layers=2),
]


@each(LAYERS)
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_wide_edges(make: Build, graph: str) -> None:
    theirs, ours = pair(make)
    x, edge_index = leaf(N, F_IN), GRAPHS[graph]()
    edge_attr = leaf(edge_index.size(1), WIDE)
    compare(theirs, ours, [x, edge_attr], lambda layer: layer(x, edge_index, edge_attr))


def test_which_widths_are_mapped_first() -> None:
    assert [k for k in (1, 8, 15, 16, 32, 64) if maps_first(k, 64)] == [16, 32, 64]
    assert [k for k in (16, 31, 32, 64) if maps_first(k, 128)] == [32, 64]


@pytest.mark.parametrize("cls", [GATv2Conv, TransformerConv])
@pytest.mark.parametrize("width", [3, WIDE])
def test_a_hook_of_the_map_is_heard(cls: type[nn.Module], width: int) -> None:
    layer = cls(F_IN, 4, heads=2, edge_dim=width).eval()
    x, edge_index = leaf(N, F_IN).float(), GRAPHS["plain"]()
    edge_attr = leaf(edge_index.size(1), width).float()
    plain: Tensor = layer(x, edge_index, edge_attr)
    seen: list[torch.Size] = []
    handle = layer.lin_edge.register_forward_hook(lambda _m, _i, out: seen.append(out.shape))
    assert_close(layer(x, edge_index, edge_attr), plain)
    assert [s[1] for s in seen] == [8]
    handle.remove()
