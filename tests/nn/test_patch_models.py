"""Graph ViT and MLP-Mixer: blocks against loops, and what the paper's page promises of the whole."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from gnnlib.nn import GINConv, GraphViTMixer, RandomWalkPE
from gnnlib.nn.patch import (
    GraphPartition,
    MixerBlock,
    PatchAttention,
    PatchEncoder,
    PatchTransformer,
    make_patches,
)
from gnnlib.sparse.graphs import Graphs
from tests.nn.cases import awkward_graph, plain_graph
from tests.tolerances import assert_close

N, D, P = 20, 6, 5


def spread(*modules: nn.Module) -> None:
    """Statistics of batch normalisation as after some training, so that evaluation uses other numbers."""
    for module in modules:
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm1d):
                nn.init.uniform_(norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
                nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]


def tokens(graphs: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, a mask with empty slots and a graph without any patch, and a symmetric adjacency."""
    x = torch.randn(graphs, P, D, dtype=torch.float64)
    mask = torch.ones(graphs, P, dtype=torch.bool)
    mask[0, :2] = False
    mask[-1] = False
    a = torch.rand(graphs, P, P, dtype=torch.float64)
    a = (a + a.transpose(1, 2)) * mask[:, None] * mask[..., None]
    return x, mask, a


@pytest.mark.parametrize("kind", ["standard", "graph", "hadamard"])
def test_attention_is_the_sum_over_patches(kind: str) -> None:
    layer = PatchAttention(D, 2, kind).double()  # type: ignore[arg-type]
    x, mask, a = tokens()
    out, inputs = layer(x, mask, a), layer.inputs(x).detach()
    q, k, v = (inputs[..., s * D : (s + 1) * D] for s in range(3))
    width = D // 2
    expected = torch.zeros_like(x)
    for g in range(2):  # the last graph has no patch
        for h in range(2):
            part = slice(h * width, (h + 1) * width)
            for i in range(P):
                seen = mask[g].nonzero()[:, 0].tolist()
                score = [float(q[g, i, part] @ k[g, j, part]) / math.sqrt(width) for j in seen]
                if kind == "graph":
                    score = [s * float(a[g, i, j]) for s, j in zip(score, seen, strict=True)]
                total = sum(math.exp(s) for s in score)
                for s, j in zip(score, seen, strict=True):
                    weight = math.exp(s) / total * (float(a[g, i, j]) if kind == "hadamard" else 1.0)
                    expected[g, i, part] += weight * v[g, j, part]
    assert_close(out[:2], layer.out(expected[:2]))
    assert_close(out[2], layer.out.bias.expand(P, D))


@pytest.mark.parametrize("kind", ["standard", "graph", "hadamard"])
def test_equal_tokens_and_the_order_of_patches(kind: str) -> None:
    layer = PatchAttention(D, 3, kind).double()  # type: ignore[arg-type]
    x, mask, a = tokens()
    order = torch.randperm(P)
    moved = layer(x[:, order], mask[:, order], a[:, order][:, :, order])
    assert_close(moved, layer(x, mask, a)[:, order])
    if kind == "standard":
        same = x[:, :1].expand(-1, P, -1)
        assert_close(layer(same), layer.out(layer.inputs(same)[..., 2 * D :]))


def test_a_mixer_block_is_two_mlps() -> None:
    block = MixerBlock(P, D).double()
    x, mask, _ = tokens()
    first, second = block.token_mlp[0], block.token_mlp[3]
    assert (first.weight.shape, second.weight.shape) == ((4 * D, P), (P, 4 * D))
    assert block.channel_mlp[0].weight.shape == (D // 2, D)
    expected = x.clone()
    normed = block.token_norm(x) * mask[..., None]
    for c in range(D):  # slots are mixed channel by channel
        hidden = nn.functional.gelu(normed[:, :, c] @ first.weight.t() + first.bias)
        expected[:, :, c] += hidden @ second.weight.t() + second.bias
    wide, narrow = block.channel_mlp[0], block.channel_mlp[3]
    expected = expected + narrow(nn.functional.gelu(wide(block.channel_norm(expected))))
    assert_close(block(x, mask), expected)
    order = torch.arange(P).roll(1)
    assert not torch.allclose(block(x[:, order]), block(x)[:, order])  # its weights belong to slots


@pytest.mark.parametrize(
    "block",
    [
        lambda: MixerBlock(P, D),
        *[lambda k=k: PatchTransformer(D, 2, k) for k in ("standard", "graph", "hadamard")],
    ],
)
def test_empty_slots_reach_nobody(block: object) -> None:
    module = block().double()  # type: ignore[operator]
    x, mask, a = tokens()
    other = torch.where(mask[..., None], x, torch.randn_like(x))
    assert_close(module(x, mask, a)[mask], module(other, mask, a)[mask])
    assert gradcheck(lambda x: module(x, mask, a)[mask], x.requires_grad_(), fast_mode=True)


def test_the_encoder_is_its_equations() -> None:
    """Copies, patches and their exchange put together by hand."""
    encoder = PatchEncoder(D, 3, dropout=0.0).double().eval()
    spread(encoder)
    edge_index = awkward_graph()
    patches = make_patches(Graphs.of(edge_index, N), 8, torch.tensor([3]))
    x = torch.randn(N, D, dtype=torch.float64)
    copies = {(s, v): x[v] for s, v in zip(patches.patch.tolist(), patches.node.tolist(), strict=True)}
    members = {s: [v for t, v in copies if t == s] for s, _ in copies}
    for layer in range(3):
        if layer:
            told = {
                s: encoder.exchanges[layer - 1](torch.stack([copies[s, v] for v in nodes]).mean(0)[None])[0]
                for s, nodes in members.items()
            }
            copies = {(s, v): value + told[s] for (s, v), value in copies.items()}
            copies = {
                (s, v): torch.stack([value for (_, u), value in copies.items() if u == v]).mean(0)
                for s, v in copies
            }
        new = {}
        for s, nodes in members.items():
            place = {v: i for i, v in enumerate(nodes)}
            inside = [(u, v) for u, v in edge_index.t().tolist() if u in place and v in place]
            edges = torch.tensor([[place[u], place[v]] for u, v in inside]).view(-1, 2).long().t()
            state = torch.stack([copies[s, v] for v in nodes])
            h = encoder.norms[layer](encoder.convs[layer](state, edges)).relu()
            for v, row in zip(nodes, encoder.lins[layer](state + h), strict=True):
                new[s, v] = row
        copies = new
    expected = [torch.stack([copies[s, v] for v in members[s]]).mean(0) for s in sorted(members)]
    assert_close(encoder(x, patches), torch.stack(expected))


@pytest.mark.parametrize("conv", ["gine", "gcn", "gated", "transformer"])
def test_convolutions_and_edge_features(conv: str) -> None:
    encoder = PatchEncoder(D, 2, conv, edge_dim=3).double()  # type: ignore[arg-type]
    edge_index = plain_graph()
    patches = make_patches(Graphs.of(edge_index, N), 6, torch.tensor([0]))
    x, e = torch.randn(N, D, dtype=torch.float64), torch.randn(60, 3, dtype=torch.float64, requires_grad=True)
    out = encoder(x, patches, e)
    assert out.shape == (patches.filled.numel(), D)
    out.square().sum().backward()
    assert (e.grad is None) == (conv == "gcn")
    assert e.grad is None or bool((e.grad != 0).any(1).all())  # every edge lies in a patch
    if conv != "gcn":
        with pytest.raises(ValueError, match="edge_attr is missing but edge_dim=3"):
            encoder(x, patches)


def whole(kind: str = "mixer", p: int = P, **options: object) -> GraphViTMixer:
    model = GraphViTMixer(
        3,
        D,
        2,
        kind,  # type: ignore[arg-type]
        partition=GraphPartition(p),
        encoding=RandomWalkPE(D, 4),
        encoder=PatchEncoder(D, 2),
        num_layers=2,
        heads=2,
        walk=int(kind == "kernel"),
        **options,  # type: ignore[arg-type]
    ).double()
    spread(model)
    return model


@pytest.mark.parametrize("kind", ["mixer", "vit", "standard", "graph", "kernel"])
def test_a_batch_gives_what_its_graphs_give(kind: str) -> None:
    model = whole(kind).eval()
    x, edge_index = torch.randn(2 * N, 3, dtype=torch.float64), awkward_graph()
    both = torch.cat([edge_index, plain_graph() + N], dim=1)
    together = model(x, both, torch.arange(2 * N) // N, 3)
    assert_close(together[:1], model(x[:N], edge_index))
    assert_close(together[1:2], model(x[N:], plain_graph()))
    assert_close(together[2], model.out.bias)  # a graph without nodes
    assert_close(model(x, both, torch.arange(2 * N) // N, 3), together)  # the cut is kept


def test_one_patch_is_an_ordinary_network() -> None:
    """GIN layers with residuals and a linear map, the mean of the nodes, and MLPs on it."""
    model = whole(p=1).eval()
    x, edge_index = torch.randn(N, 3, dtype=torch.float64), awkward_graph()
    h = model.encoding(model.lin(x), edge_index)
    encoder = model.encoder
    for i, (conv, norm, lin) in enumerate(zip(encoder.convs, encoder.norms, encoder.lins, strict=True)):
        assert isinstance(conv, GINConv)
        h = h + encoder.exchanges[i - 1](h.mean(0, keepdim=True)) if i else h
        h = lin(h + norm(conv(h, edge_index)).relu())
    token = h.mean(0, keepdim=True) + model.place_norm(model.place(torch.ones(1, 8).double())).relu()
    for block in model.blocks:
        token = block(token[None])[0]
    assert_close(model(x, edge_index), model.out(model.norm(token)))
    order = torch.randperm(N)
    assert_close(model(x[order], order.argsort()[edge_index]), model(x, edge_index))


def test_one_node_a_patch_leaves_vit_invariant_but_not_the_mixer() -> None:
    x, edge_index, order = torch.randn(N, 3, dtype=torch.float64), awkward_graph(), torch.randperm(N)
    for kind, invariant in (("vit", True), ("standard", True), ("mixer", False)):
        model = whole(kind, p=N + 3).eval()
        moved = model(x[order], order.argsort()[edge_index])
        assert torch.allclose(moved, model(x, edge_index), atol=1e-9) == invariant


def test_training_cuts_anew_and_evaluation_does_not() -> None:
    edge_index = plain_graph()
    graphs = Graphs.of(edge_index, N)
    partition = GraphPartition(P, drop_rate=0.5)
    cuts = {tuple(partition.patches(graphs, training=True).node.tolist()) for _ in range(8)}
    assert len(cuts) > 1
    fixed = [partition.patches(graphs).node for _ in range(2)]
    assert torch.equal(*fixed)
    assert torch.equal(fixed[0], make_patches(graphs, P, torch.tensor([0])).node)
    assert len({tuple(partition.patches(graphs, number=k).node.tolist()) for k in range(6)}) > 1
    offline = GraphPartition(P, drop_rate=0.5, online=False)
    assert torch.equal(offline.patches(graphs, training=True).node, fixed[0])
    assert repr(partition) == "GraphPartition(5, num_hops=1, drop_rate=0.5, online=True)"


def test_several_cuts_are_averaged() -> None:
    model = whole(partitions=6).eval()
    x, edge_index = torch.randn(N, 3, dtype=torch.float64), plain_graph()
    averaged = model(x, edge_index)
    each = []
    for seed in range(6):
        one = copy.deepcopy(model)
        one.partitions, one.partition.seed = 1, seed
        each.append(one(x, edge_index))
    assert_close(averaged, torch.stack(each).mean(0))
    assert not all(torch.allclose(each[0], one) for one in each)


def test_gradients_reach_all_of_it() -> None:
    model = whole("vit").train()
    x = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    model(x, awkward_graph()).square().sum().backward()
    assert bool((x.grad != 0).any(1).all())
    missing = [k for k, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_errors_say_what_to_pass() -> None:
    with pytest.raises(ValueError, match="kind='kernel' with walk=0; pass its steps"):
        GraphViTMixer(3, D, kind="kernel")
    with pytest.raises(ValueError, match="channels=6 is not divisible by heads=4"):
        PatchAttention(D, 4)
    with pytest.raises(ValueError, match="needs the adjacency of the patches"):
        PatchAttention(D, 2)(torch.zeros(1, 2, D))
    with pytest.raises(ValueError, match=r"pass \[G, 5, 6\]"):
        MixerBlock(P, D)(torch.zeros(1, 4, D))
    with pytest.raises(ValueError, match="num_patches=0"):
        GraphPartition(0)
    with pytest.raises(ValueError, match="num_layers=0; pass 1 or more"):
        PatchEncoder(D, 0)
    with pytest.raises(ValueError, match="kind 'mixr' is unknown; did you mean 'mixer'"):
        GraphViTMixer(3, D, kind="mixr")  # type: ignore[arg-type]
