"""Path encoders and networks against torch's own modules and a loop over paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

from gnnlib.nn import PathCNN, PathConv, PathGRU, PathLSTM, PathNN, PathSum, PathTransformer
from gnnlib.sparse import as_csr, enumerate_paths
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F = 20, 6


@pytest.fixture
def parts() -> list[tuple[Tensor, Tensor]]:
    index = torch.randint(9, (13, 4)), torch.randint(5, (13, 4))
    return [
        (torch.randn(9, 3, dtype=torch.float64), index[0]),
        (torch.randn(5, 2, dtype=torch.float64), index[1]),
    ]


def spread(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """What stands at each place, ``[P, L, F]``."""
    return torch.cat([x[index] for x, index in parts], -1)


@pytest.mark.parametrize("cls", [PathLSTM, PathGRU])
def test_recurrent_encoders_equal_torch(cls: Any, parts: list[tuple[Tensor, Tensor]]) -> None:
    encoder = cls(5, F).double()
    leaves = [x.requires_grad_() for x, _ in parts]
    expected = encoder.rnn(spread(parts))[0][:, -1]
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), [*leaves, *encoder.parameters()])
    found = encoder(parts)
    assert_close(found, expected)
    assert_close(torch.autograd.grad((found * weight).sum(), [*leaves, *encoder.parameters()]), wanted)


@pytest.mark.parametrize("cls", [PathLSTM, PathGRU])
def test_beginnings_are_shared_and_nothing_changes(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All paths of a tree of degree three: the states computed are those of its beginnings, each once."""
    tree = torch.tensor(list(nx.balanced_tree(2, 3).edges)).t()
    paths = enumerate_paths(torch.cat([tree, tree.flip(0)], 1), 4, "simple", distance=True)
    assert paths.distance is not None
    x, steps = torch.randn(15, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    encoder = cls(5, F).double()
    computed: list[int] = []
    beginnings = cls._beginnings

    def counted(parts: Any) -> Iterator[Any]:
        for rows, parent in beginnings(parts):
            computed.append(rows[0].shape[0])
            yield rows, parent

    monkeypatch.setattr(cls, "_beginnings", staticmethod(counted))
    for nodes, distance in zip(paths.nodes, paths.distance, strict=True):
        given = [(x, nodes), (steps, distance.long())]
        computed.clear()
        found = encoder(given)
        begins = [len({tuple(p[: i + 1]) for p in nodes.tolist()}) for i in range(nodes.shape[1])]
        assert computed == begins
        assert sum(begins) < nodes.numel()
        assert_close(found, encoder.rnn(spread(given))[0][:, -1])


def test_paths_that_differ_in_their_distances_alone_are_kept_apart() -> None:
    encoder = PathLSTM(5, F).double()
    nodes, steps = torch.tensor([[0, 1, 2], [0, 1, 2]]), torch.tensor([[2, 1, 0], [1, 1, 0]])
    given = [(torch.randn(3, 3, dtype=torch.float64), nodes), (torch.randn(3, 2, dtype=torch.float64), steps)]
    found = encoder(given)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert_close(found, encoder.rnn(spread(given))[0][:, -1])


def test_cnn_equals_torch(parts: list[tuple[Tensor, Tensor]]) -> None:
    encoder = PathCNN(5, F).double()
    assert_close(encoder(parts), encoder.conv(spread(parts).transpose(1, 2)).relu().sum(-1))


def test_sum_and_transformer_count_places_from_the_centre(parts: list[tuple[Tensor, Tensor]]) -> None:
    tokens = spread(parts)
    total = PathSum(5, F, 4).double()
    assert_close(total(parts), (total.lin(tokens) * total.position[:4].flip(0)).sum(1))
    block = PathTransformer(5, F, 4, heads=2).double()
    assert_close(block(parts), block.block(block.lin(tokens) + block.position[:4].flip(0))[:, -1])
    for encoder in (PathSum(5, F, 2), PathTransformer(5, F, 2)):
        with pytest.raises(
            ValueError, match="paths of 3 edges came but length=2; build the encoder for longer"
        ):
            encoder.double()(parts)


@pytest.mark.parametrize("variant", ["sp", "sp+", "ap"])
@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("edge_dim", [None, 2])
def test_network_against_a_loop_over_paths(variant: Any, distance: bool, edge_dim: int | None) -> None:
    net = PathNN(7, F, 3, 3, variant, distance=distance, edge_dim=edge_dim, normalize=True).double().eval()
    edge_index, x = plain_graph(), torch.randn(N, 7, dtype=torch.float64)
    edge_attr = None if edge_dim is None else torch.randn(edge_index.shape[1], 2, dtype=torch.float64)
    kind: Any = {"sp": "shortest", "sp+": "all_shortest", "ap": "simple"}[variant]
    paths = enumerate_paths(as_csr(edge_index, N), 3, kind)
    g = nx.DiGraph(edge_index.t().tolist())
    steps = dict(nx.all_pairs_shortest_path_length(g))
    edge = {tuple(e): i for i, e in reversed(list(enumerate(edge_index.t().tolist())))}
    convs: Any = net.convs
    h = net.mlp(x)
    for k, nodes in enumerate(paths.nodes):
        h = torch.nn.functional.normalize(h, dim=1)
        total = h.clone()
        for row in nodes.tolist():
            sequence = h[row]
            if distance:
                sequence = torch.cat(
                    [sequence, convs[k].distance.weight[[steps[u][row[-1]] for u in row]]], 1
                )
            if edge_attr is not None:
                along = edge_attr[[edge[u, v] for u, v in itertools.pairwise(row)]]
                sequence = torch.cat([sequence, torch.cat([along.new_zeros(1, 2), along])], 1)
            total[row[-1]] += convs[k].encoder.rnn(sequence[None])[0][0, -1]
        h = convs[k].norm(total).relu()
    assert_close(net(x, edge_index, edge_attr), net.lin(h))  # type: ignore[misc]


@pytest.mark.parametrize("encoder", ["lstm", "gru", "cnn", "sum", "transformer"])
def test_encoders_by_name(encoder: str) -> None:
    net = PathNN(7, F, 3, 2, "ap", encoder=encoder, share=False)
    out = net(torch.randn(N, 7), plain_graph())
    assert out.shape == (N, 3)
    out.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_one_edge_is_message_passing_and_encoders_are_shared() -> None:
    shared, own = PathNN(7, F, K=3), PathNN(7, F, K=3, share=False)
    count = sum(p.numel() for p in PathLSTM(F, F).parameters())
    assert sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in shared.parameters()) == 2 * count
    a, b = PathNN(7, F, K=1).eval(), PathNN(7, F, K=1, variant="ap").eval()
    b.load_state_dict(a.state_dict())
    x = torch.randn(N, 7)
    assert_close(a(x, plain_graph()), b(x, plain_graph()))


def test_any_paths_may_be_passed() -> None:
    net = PathNN(7, F, 3, 2, "p").eval()
    x, edge_index = torch.randn(N, 7), plain_graph()
    paths = enumerate_paths(as_csr(edge_index, N), 2, "simple", max_per_node=2)
    other = PathNN(7, F, 3, 2, "ap").eval()
    other.load_state_dict(net.state_dict())
    assert_close(net(x, edge_index, paths=paths), other(x, edge_index, paths=paths))
    with pytest.raises(ValueError, match="variant='p' reads given paths; pass paths="):
        net(x, edge_index)


def test_inputs_that_do_not_fit_fail_clearly() -> None:
    edge_index = plain_graph()
    x, attr = torch.randn(N, F), torch.randn(edge_index.shape[1], 2)
    plain, edged = PathNN(F, 4, K=2), PathNN(F, 4, K=2, edge_dim=2)
    paths = {k: enumerate_paths(as_csr(edge_index, N), k, "simple") for k in (1, 2, 3)}
    few = enumerate_paths(as_csr(edge_index), 2)
    rows = edge_index.shape[1]
    for call, kind, message in (
        (
            lambda: plain(x, edge_index, paths=paths[1]),
            ValueError,
            "paths of up to 1 edges over 20 nodes.*K=2",
        ),
        (
            lambda: plain(x, edge_index, paths=paths[3]),
            ValueError,
            "paths of up to 3 edges .*pass enumerate_paths",
        ),
        (lambda: plain(x, edge_index, paths=few), ValueError, "over 17 nodes came but .*20 rows"),
        (lambda: plain(x.long(), edge_index), TypeError, "x is torch.int64; pass floating"),
        (lambda: plain(x[0], edge_index), ValueError, "x has shape"),
        (lambda: edged(x, edge_index, attr[:, 0]), ValueError, f"edge_attr has shape .{rows}. but"),
        (lambda: edged(x, edge_index, attr[1:]), ValueError, f"there are {rows} edges and edge_dim=2; pass"),
        (lambda: edged(x, edge_index, torch.cat([attr, attr], 1)), ValueError, "edge_attr has shape"),
    ):
        with pytest.raises(kind, match=f"PathNN: .*{message}"):
            call()
    assert edged(x, edge_index, attr, paths[2]).shape == (N, 4)


def test_errors() -> None:
    x, edge_index = torch.randn(N, 7), plain_graph()
    with pytest.raises(ValueError, match="PathNN: K=0; pass the most edges of a path"):
        PathNN(7, F, K=0)
    with pytest.raises(ValueError, match="path encoder 'lst' is unknown; did you mean 'lstm'"):
        PathNN(7, F, encoder="lst")
    with pytest.raises(ValueError, match="edge_attr is given but edge_dim=None; build the network"):
        PathNN(7, F)(x, edge_index, torch.randn(edge_index.shape[1], 2))
    conv = PathConv(PathLSTM(2 * F, F), distance=nn.Embedding(3, F))
    with pytest.raises(ValueError, match="PathConv: distances to the centre are wanted; pass those of"):
        conv(torch.randn(N, F), torch.zeros(1, 2, dtype=torch.int64))
