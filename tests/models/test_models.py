"""Every model for every task it serves, and the structures that the papers name."""

from __future__ import annotations

import copy
import dataclasses
import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib import models
from gnnlib.models import GATConfig, GCNConfig, GINConfig, MLPConfig, ModelConfig, SGCConfig
from gnnlib.nn import GCNConv, global_add_pool
from tests.nn.cases import awkward_graph, plain_graph
from tests.tolerances import assert_close

N, F_IN, OUT = 20, 7, 3
BATCH = torch.arange(N) // 7
OWN = {"forecast", "recommendation"}  # tasks whose models have a test file of their own
SERVED = [(name, task) for name in models.names() for task in sorted(models.tasks(name) - OWN)]
each = pytest.mark.parametrize(("name", "task"), SERVED, ids=["-".join(s) for s in SERVED])


def small(name: str, **options: Any) -> ModelConfig:
    heads = "heads" in {f.name for f in dataclasses.fields(models.config_class(name))}
    sizes = {"hidden_channels": 3, "heads": 2} if heads else {"hidden_channels": 6}
    shared = name.startswith("allset") or name in (
        "alldeepsets",
        "gmt",
        "graph-vit",
        "residual-gat",
    )  # heads share the width
    sizes = {"hidden_channels": 6, "heads": 2} if shared else sizes
    return models.config_class(name)(**{**sizes, **options})


def graph_inside(batch: Tensor = BATCH) -> Tensor:
    """Edges that stay within the graphs of the batch."""
    edge_index = awkward_graph()
    return edge_index[:, batch[edge_index[0]] == batch[edge_index[1]]]


def incidences_of(edge_index: Tensor) -> Tensor:
    """Five pairs of a node and a hyperedge, which comes after the N nodes."""
    return edge_index[:, :5] + torch.tensor([[0], [N]], device=edge_index.device)


SHAPES = {"node": (N, OUT), "graph": (3, OUT), "link": (5,), "hypergraph": (N, OUT), "incidence": (5,)}
#: Models whose options know one number of layers.
ONE_LAYER = ("sgc", "phenomnn", "phenomnn-simple", "buddy")
#: Models whose hash values follow the numbers of nodes: another numbering gives other estimates.
SKETCHING = ("buddy", "elph")
#: Models without parameters.
HEURISTICS = set(models.heuristics.MODELS)


def run(model: Any, task: str, x: Tensor, edge_index: Tensor, batch: Tensor = BATCH) -> Tensor:
    out: Tensor = {
        "node": lambda: model(x, edge_index),
        "graph": lambda: model(x, edge_index, batch, int(batch.max()) + 1),
        "link": lambda: model(x, edge_index, edge_index[:, :5]),
        "hypergraph": lambda: model(x, edge_index),  # targets are hyperedges
        "incidence": lambda: model(x, edge_index, incidences_of(edge_index)),
    }[task]()
    return out


def added_loss(model: Any, task: str, x: Tensor, edge_index: Tensor) -> Tensor | float:
    """What a link model adds to the loss of the pairs; parts of it may serve that alone."""
    adds = task == "link" and getattr(model, "has_auxiliary", False)
    return model.encode_with_loss(x, edge_index)[1] if adds else 0.0


@each
def test_runs_trains_saves_and_resets(name: str, task: str) -> None:
    config = small(name)
    model = models.build(name, task, F_IN, OUT, config)
    assert model.config is config
    x, edge_index = torch.randn(N, F_IN), graph_inside()
    out = run(model, task, x, edge_index)
    assert out.shape == SHAPES[task]
    if name not in HEURISTICS:
        (out.square().sum() + added_loss(model, task, x, edge_index)).backward()
    missing = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing

    model.eval()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = models.build(name, task, F_IN, OUT, config).eval()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    expected = run(model, task, x, edge_index)
    assert torch.equal(run(other, task, x, edge_index), expected)
    assert torch.equal(run(copy.deepcopy(model), task, x, edge_index), expected)

    states = []
    for m in (model, models.build(name, task, F_IN, OUT, config)):
        torch.manual_seed(5)
        m.reset_parameters()
        states.append(m.state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


#: Patches follow the numbers of the nodes, but not one patch, nor attention over one node in each.
UNNUMBERED = {"graph-mixer": {"num_patches": 1}, "graph-vit": {"num_patches": N}}


@pytest.mark.parametrize(("name", "task"), [served for served in SERVED if served[0] not in SKETCHING])
def test_relabelling(name: str, task: str) -> None:
    model = models.build(name, task, F_IN, OUT, small(name, **UNNUMBERED.get(name, {}))).double().eval()
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), graph_inside()
    order = torch.randperm(N)
    out, other = (
        run(model, task, x, edge_index),
        run(model, task, x[order], order.argsort()[edge_index], BATCH[order]),
    )
    assert_close(other, out[order] if task in ("node", "hypergraph") else out)


@each
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 1, "norm": "batch", "act": "tanh", "readout": "max"},
        {"num_layers": 3, "norm": "layer", "act": "none", "decoder": "mlp", "input_dropout": 0.3},
    ],
    ids=str,
)
def test_options(name: str, task: str, options: dict[str, Any]) -> None:
    known = {f.name for f in dataclasses.fields(models.config_class(name))}
    options = {
        k: v for k, v in options.items() if k in known and (k != "num_layers" or name not in ONE_LAYER)
    }
    model = models.build(name, task, F_IN, OUT, small(name, **options))
    x, edge_index = torch.randn(N, F_IN), graph_inside()
    out = run(model, task, x, edge_index)
    assert out.shape == SHAPES[task]
    if name not in HEURISTICS:
        (out.sum() + added_loss(model, task, x, edge_index)).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["gat", "gcn", "gin"])
@pytest.mark.parametrize("task", ["node", "graph", "link"])
@pytest.mark.parametrize("jk", ["last", "cat", "max", "lstm"])
def test_jumping_knowledge(name: str, task: str, jk: str) -> None:
    model: Any = models.build(name, task, F_IN, OUT, small(name, jk=jk, num_layers=3, dropout=0.0))
    x, edge_index = torch.randn(N, F_IN), graph_inside()
    out = run(model, task, x, edge_index)
    assert out.shape == SHAPES[task]
    assert model.encoder.hidden(x, edge_index).shape == (
        N,
        {"cat": 6 * 3 + F_IN * (task == "graph")}.get(jk, 6),
    )


@each
def test_embeddings(name: str, task: str) -> None:
    model: Any = models.build(name, task, F_IN, OUT, small(name)).eval()
    x, edge_index = torch.randn(N, F_IN), graph_inside()
    if task in ("node", "hypergraph"):
        assert model.embed(x, edge_index).shape == (
            N,
            {
                "ggnn-typed": 12,
                "sgc": F_IN,
                "jknet": 6 * 6,
                "magnet": 2 * 6,
                "nsd": 2 * 6,
                "sheafnn": 2 * 6,
            }.get(name, 6),
        )
    elif task == "graph":
        z = model.embed(x, edge_index, BATCH, 3)
        assert_close(model.lin(z), model(x, edge_index, BATCH, 3))
    else:
        z, pairs = model.encode(x, edge_index), edge_index[:, :4]
        pairs = pairs + torch.tensor([[0], [N * (task == "incidence")]])
        if getattr(model, "uses_graph", False):
            assert_close(model(x, edge_index, pairs), model.decode(z, pairs, edge_index))
            return
        assert_close(model.decode(z, pairs), (z[pairs[0]] * z[pairs[1]]).sum(1))
        assert_close(model(x, edge_index, pairs), model.decode(z, pairs))


@pytest.mark.parametrize("name", models.names("graph"))
def test_a_batch_gives_what_its_graphs_give(name: str) -> None:
    model: Any = models.build(name, "graph", F_IN, OUT, small(name)).double().eval()
    x, edge_index = torch.randn(2 * N, F_IN, dtype=torch.float64), awkward_graph()
    both = torch.cat([edge_index, plain_graph() + N], dim=1)
    together = model(x, both, torch.arange(2 * N) // N)
    assert_close(together[:1], model(x[:N], edge_index, None))
    assert_close(together[1:], model(x[N:], plain_graph(), None))


@pytest.mark.parametrize("name", models.names("graph"))
def test_integer_features_are_embedded(name: str) -> None:
    model: Any = models.build(name, "graph", 2, 1, small(name), encoder="atom", feature_sizes=[5, 3]).eval()
    x = torch.stack([torch.randint(0, 5, (N,)), torch.randint(0, 3, (N,))], dim=1)
    assert model(x, graph_inside(), BATCH).shape == (3, 1)
    first, second = (t.weight for t in model.categories.tables)
    assert_close(model.categories(x), first[x[:, 0]] + second[x[:, 1]])
    with pytest.raises(TypeError, match=r"x is torch\.float32"):
        model(x.float(), graph_inside(), BATCH)
    with pytest.raises(ValueError, match=r"shape \[20, 1\]; pass integers \[N, 2\]"):
        model(x[:, :1], graph_inside(), BATCH)
    with pytest.raises(ValueError, match=r"column 1 holds .* to 3 but its table has 3 rows"):
        model(x.index_fill(1, torch.tensor([1]), 3), graph_inside(), BATCH)


def test_gcn_is_the_published_one() -> None:
    model: Any = models.build("gcn", "node", F_IN, OUT, GCNConfig(hidden_channels=16))
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {
        "encoder.convs.0.bias": (16,),
        "encoder.convs.0.lin.weight": (16, F_IN),
        "encoder.convs.1.bias": (OUT,),
        "encoder.convs.1.lin.weight": (OUT, 16),
    }
    x, edge_index = torch.randn(N, F_IN), plain_graph()
    first, second = model.encoder.convs
    torch.manual_seed(0)
    out = model(x, edge_index)
    torch.manual_seed(0)
    h = F.dropout(F.relu(first(F.dropout(x, 0.5), edge_index)), 0.5)
    assert_close(out, second(h, edge_index))


def test_gat_is_the_published_one() -> None:
    model: Any = models.build("gat", "node", F_IN, OUT)
    first, second = model.encoder.convs
    assert (first.heads, first.out_channels, first.concat, first.dropout) == (8, 8, True, 0.6)
    assert (second.heads, second.out_channels, second.concat, second.dropout) == (1, OUT, False, 0.6)
    x, edge_index = torch.randn(N, F_IN), plain_graph()
    model.eval()
    assert_close(model(x, edge_index), second(F.elu(first(x, edge_index)), edge_index))


def test_appnp_is_the_published_one() -> None:
    model: Any = models.build("appnp", "node", F_IN, OUT)
    prop, mlp = model.encoder.prop, model.encoder.mlp
    assert (prop.K, prop.alpha, prop.dropout, mlp.channel_list) == (10, 0.1, 0.5, [F_IN, 64, OUT])
    x, edge_index = torch.randn(N, F_IN), plain_graph()
    model.eval()
    first, second = mlp.lins
    assert_close(model(x, edge_index), prop(second(F.relu(first(x))), edge_index))


def test_gin_sums_a_linear_map_of_the_readout_of_each_layer() -> None:
    model: Any = models.build("gin", "graph", F_IN, OUT, GINConfig(hidden_channels=6)).double().eval()
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), graph_inside()
    hidden, layers = x, [x]
    for conv, norm in zip(model.encoder.convs, model.encoder.norms, strict=True):
        hidden = F.relu(norm(conv(hidden, edge_index)))
        layers.append(hidden)
    weights = model.lin.weight.split([F_IN, 6, 6, 6, 6], dim=1)
    expected = model.lin.bias + sum(
        global_add_pool(h, BATCH) @ w.t() for h, w in zip(layers, weights, strict=True)
    )
    assert_close(model(x, edge_index, BATCH), expected)


def test_gae_is_a_gcn_with_an_inner_product() -> None:
    model: Any = models.build("gae", "link", F_IN, 1)
    first, second = model.encoder.convs
    assert isinstance(first, GCNConv)
    assert (first.out_channels, second.out_channels) == (32, 16)
    x, edge_index = torch.randn(N, F_IN), plain_graph()
    z = second(F.relu(first(x, edge_index)), edge_index)
    assert_close(model(x, edge_index, edge_index), (z[edge_index[0]] * z[edge_index[1]]).sum(1))


def test_sgc_has_one_linear_map() -> None:
    model = models.build("sgc", "node", F_IN, OUT, SGCConfig(K=2))
    assert sum(p.numel() for p in model.parameters()) == (F_IN + 1) * OUT
    with pytest.raises(ValueError, match="num_layers=2; pass 1"):
        SGCConfig(num_layers=2)


@pytest.mark.parametrize("name", models.names("node"))
def test_edge_weights_reach_the_layers_that_know_them(name: str) -> None:
    model: Any = models.build(name, "node", F_IN, OUT, small(name)).eval()
    x, edge_index = torch.randn(N, F_IN), plain_graph()
    with_weights = model(x, edge_index, torch.rand(60) + 2)
    changed = (with_weights - model(x, edge_index)).abs().max() > 1e-4
    without = {
        "gat",
        "gatedgcn",
        "gin",
        "gine",
        "mlp",
        "nsd",
        "pathnn",
        "residual-gat",
        "residual-gin",
        "sage",
        "sheafnn",
    }
    assert changed.item() == (name not in without)


def test_configs_are_frozen_and_checked() -> None:
    for name in models.names():
        config = models.config_class(name)()
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.dropout = 0.1  # type: ignore[misc]
    for options, message in (
        ({"dropout": 1.0}, "GATConfig: dropout=1.0; pass a number from 0 to below 1"),
        ({"hidden_channels": 0}, "hidden_channels=0; pass 1 or more"),
        ({"heads": 0}, "heads=0"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
    ):
        with pytest.raises(ValueError, match=message):
            GATConfig(**options)  # type: ignore[arg-type]
    for options, message in (({"alpha": 2.0}, "alpha=2.0"), ({"K": -1}, "K=-1")):
        with pytest.raises(ValueError, match=message):
            models.config_class("appnp")(**options)


def test_the_readout_has_a_dropout_of_its_own() -> None:
    """Nothing is dropped on the way to it, and all of a rate near 1 behind it."""
    torch.manual_seed(0)
    config = GINConfig(num_layers=2, dropout=0.0, readout_dropout=0.999)
    model: Any = models.build("gin", "graph", F_IN, OUT, config).train()
    x, edge_index = torch.randn(6, F_IN), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    assert torch.equal(model.embed(x, edge_index), model.embed(x, edge_index))
    torch.testing.assert_close(model(x, edge_index)[0], model.lin.bias)
    plain: Any = models.build("gin", "graph", F_IN, OUT, GINConfig(num_layers=2, dropout=0.0)).train()
    assert torch.equal(plain(x, edge_index), plain(x, edge_index))  # as ``dropout`` when it is not given


def test_gspn_adds_the_likelihood_of_the_nodes() -> None:
    x, edge_index = F.one_hot(torch.arange(N) % F_IN, F_IN).double(), graph_inside()
    model: Any = models.build("gspn", "graph", F_IN, OUT, small("gspn", likelihood=0.5)).double().eval()
    logits, loss = model(x, edge_index, BATCH, 3, auxiliary=True)
    assert_close(logits, model(x, edge_index, BATCH, 3))
    assert_close(loss, -0.5 * model.encoder.gspn.log_likelihood(x, edge_index).mean())
    assert model.lin.bias is None
    hiding: Any = models.build("gspn", "graph", F_IN, OUT, small("gspn", input_dropout=0.999)).double()
    nothing = hiding.encoder.gspn(x, edge_index, torch.zeros(N, 1, dtype=torch.bool))
    torch.manual_seed(1)
    assert_close(hiding.embed(x, edge_index, BATCH, 3), hiding.encoder.readout(nothing, BATCH, 3))


def test_registry() -> None:
    assert models.names() == sorted(models.names())
    assert "gae" in models.names("link")
    assert "gae" not in models.names("node")
    assert models.tasks("GCN") == {"node", "graph", "link"}
    with pytest.raises(ValueError, match="model 'graphconf' is unknown; did you mean 'graphconv'"):
        models.build("graphconf", "node", F_IN, OUT)
    with pytest.raises(ValueError, match="task 'nod' is unknown; did you mean 'node'"):
        models.names("nod")
    with pytest.raises(ValueError, match="model 'gae' serves link, not node; choose one of air, appnp"):
        models.build("gae", "node", F_IN, OUT)
    with pytest.raises(TypeError, match="model 'gcn' takes a GCNConfig, but MLPConfig came"):
        models.build("gcn", "node", F_IN, OUT, MLPConfig())
    with pytest.raises(ValueError, match="encoder='bond'"):
        models.build("gcn", "graph", F_IN, OUT, encoder="bond", feature_sizes=[3])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dirgnn", {"conv": "sage", "alpha": 0.3}),
        ("dirgnn", {"conv": "gat", "unit_rows": True}),
        ("fabernet", {"complex_weights": True, "jk": "cat"}),
        ("fabernet", {"complex_weights": True, "jk": "last", "unit_rows": True, "K": 3}),
        ("fabernet", {"alpha": 0.0, "zero_order": True, "penalty": "lin"}),
        ("dirresolvnet", {"K": 2, "alpha": 1.0}),
        ("digcnib", {"cap": 5}),
        ("magnet", {"q": 0.1, "K": 2}),
        ("cayleynet", {"r": 2, "K": 3, "normalization": "none"}),
        ("chebnet", {"K": 2, "normalization": "none"}),
        ("air", {"base": "appnp"}),
        ("nsd", {"kind": "general", "stalk_dim": 3, "num_layers": 3}),
        ("nsd", {"kind": "orthogonal", "stalk_dim": 3, "fixed_sheaf": True, "orth": "cayley"}),
        ("nsd", {"sparse_learner": True, "left_weights": False, "right_weights": False}),
        ("lazygnn", {"L": 3, "beta": 0.2}),
    ],
    ids=str,
)
def test_variants_train(name: str, options: dict[str, Any]) -> None:
    model = models.build(name, "node", F_IN, OUT, small(name, **options))
    out = model(torch.randn(N, F_IN), plain_graph())
    assert out.shape == (N, OUT)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_hidden_rows_of_a_directed_stack_have_length_one() -> None:
    model: Any = models.build("dirgnn", "node", F_IN, OUT, small("dirgnn", unit_rows=True, act="none")).eval()
    first = model.encoder.convs[0](torch.randn(N, F_IN), plain_graph())
    connected = torch.isin(torch.arange(N), plain_graph())
    assert_close(first[connected].norm(dim=1), torch.ones(int(connected.sum())))


def test_gmt_is_the_published_one() -> None:
    """GCN layers side by side, and a readout whose keys and values are convolutions."""
    config = models.GMTConfig(hidden_channels=8, num_layers=2, heads=2, num_seeds=3)
    model: Any = models.build("gmt", "graph", F_IN, OUT, config).double().eval()
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), graph_inside()
    layers = [x]
    for conv in model.encoder.stack.convs:
        assert isinstance(conv, GCNConv)
        layers.append(conv(layers[-1], edge_index).relu())
    pool = model.encoder.pool
    assert (pool.k, pool.heads, pool.layer_norm, pool.key_conv is None) == (3, 2, True, False)
    h = model.encoder.lin(torch.cat(layers, 1))
    assert_close(model.embed(x, edge_index, BATCH, 3), pool(h, BATCH, dim_size=3, edge_index=edge_index))
    plain: Any = models.build("gmt", "graph", F_IN, OUT, dataclasses.replace(config, gnn_kv=False)).eval()
    assert plain(x.float(), edge_index, BATCH, 3).shape == (3, OUT)
    with pytest.raises(ValueError, match="hidden_channels=10; pass a multiple of heads"):
        models.GMTConfig(hidden_channels=10)
