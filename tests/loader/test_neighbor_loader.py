"""NeighborLoader: PyG's output, full neighbourhoods against the whole graph, workers, times, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader
from torch_geometric.loader import NodeLoader
from torch_geometric.nn import HeteroConv
from torch_geometric.nn import SAGEConv as PyGSAGEConv
from torch_geometric.utils import trim_to_layer

from gnnlib.loader import NeighborLoader, NeighborSampler
from gnnlib.nn import SAGEConv
from tests.loader.graphs import KINDS, NODES, SIZES, check_plain, check_typed, plain, same_batches, typed
from tests.tolerances import assert_close


def test_pyg_itself_needs_a_package_for_this() -> None:
    """Why these loaders exist; where the package is installed there is nothing to see."""
    import torch_geometric.typing as found

    if found.WITH_PYG_LIB or found.WITH_TORCH_SPARSE:
        pytest.skip("pyg-lib or torch-sparse is installed")
    with pytest.warns(UserWarning, match="pyg-lib"), pytest.raises(ImportError, match="pyg-lib"):
        next(iter(PyGNeighborLoader(plain(), [2], batch_size=4)))


def test_a_batch_is_as_pyg_documents_it() -> None:
    data = plain()
    loader = NeighborLoader(data, [3, 2], input_nodes=data.train_mask, batch_size=8)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    seeds = data.train_mask.nonzero()[:, 0]
    for k, batch in enumerate(batches):
        check_plain(batch, data)
        mine = seeds[8 * k : 8 * k + 8]
        assert batch.batch_size == mine.numel()
        assert torch.equal(batch.n_id[: batch.batch_size], mine)
        assert torch.equal(batch.input_id, mine)  # with a mask PyG numbers the inputs by the node
        assert batch.name == "a graph"
        assert sum(batch.num_sampled_nodes) == batch.num_nodes
        assert sum(batch.num_sampled_edges) == batch.num_edges
        assert len(batch.num_sampled_nodes) == 3
        assert batch.batch is None
    numbered = NeighborLoader(data, [3, 2], input_nodes=seeds, batch_size=8)
    assert torch.equal(next(iter(numbered)).input_id, torch.arange(8))


@pytest.mark.parametrize("subgraph_type", ["directional", "bidirectional", "induced"])
@pytest.mark.parametrize("disjoint", [False, True])
def test_every_form(subgraph_type: str, disjoint: bool) -> None:
    data = plain()
    loader = NeighborLoader(data, [3, 2], batch_size=16, subgraph_type=subgraph_type, disjoint=disjoint)
    for batch in loader:
        if subgraph_type == "bidirectional":  # a reverse has the number of the edge that it reverses
            pairs = set(map(tuple, batch.edge_index.t().tolist()))
            assert pairs == {(b, a) for a, b in pairs}
        else:
            check_plain(batch, data)
        assert ("num_sampled_edges" in batch) == (subgraph_type == "directional")
        if disjoint:
            assert torch.equal(batch.batch[: batch.batch_size], torch.arange(batch.batch_size))
            row, col = batch.edge_index
            assert torch.equal(batch.batch[row], batch.batch[col])


def test_whole_neighbourhoods_give_what_the_whole_graph_gives() -> None:
    """Two layers on batches with all neighbours, trimmed hop by hop, against the full graph."""
    data = plain()
    torch.manual_seed(0)
    layers = [SAGEConv(1, 4), SAGEConv(4, 3)]
    x = torch.randn(NODES, 1)
    data.x = x
    full = x
    for conv in layers:
        full = conv(full, data.edge_index).relu()
    loader = NeighborLoader(data, [-1, -1], batch_size=7)
    out = []
    for batch in loader:
        h, edge_index = batch.x, batch.edge_index
        for k, conv in enumerate(layers):
            h, edge_index, _ = trim_to_layer(
                k, batch.num_sampled_nodes, batch.num_sampled_edges, h, edge_index
            )
            h = conv(h, edge_index).relu()
        out.append(h[: batch.batch_size])
    assert_close(torch.cat(out), full)


def test_whole_typed_neighbourhoods() -> None:
    data = typed()
    torch.manual_seed(0)
    layers = [HeteroConv({kind: PyGSAGEConv((-1, -1), 4) for kind in KINDS}, aggr="sum") for _ in range(2)]

    def run(h: dict[str, Any], edge_index: dict[Any, Any]) -> Any:
        for conv in layers:
            h = {**h, **conv(h, edge_index)}
        return h["paper"]

    x = {name: torch.randn(size, 4) for name, size in SIZES.items()}
    full = run(x, data.edge_index_dict)
    loader = NeighborLoader(data, [-1, -1], input_nodes="paper", batch_size=9)
    out = []
    for batch in loader:
        check_typed(batch, data)
        h = {name: x[name][batch[name].n_id] for name in SIZES}
        out.append(run(h, batch.edge_index_dict)[: batch["paper"].batch_size])
    assert_close(torch.cat(out), full)


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"subgraph_type": "induced"}, {"replace": True}])
def test_typed_batches(options: dict[str, Any]) -> None:
    data = typed()
    fanouts = {kind: [3, 1] for kind in KINDS} | {("paper", "cites", "paper"): [0, 2]}
    loader = NeighborLoader(data, fanouts, input_nodes=("paper", torch.arange(20)), batch_size=8, **options)
    for batch in loader:
        check_typed(batch, data)
        assert batch["paper"].batch_size in (8, 4)
        if not options.get("subgraph_type"):
            assert batch["paper"].num_sampled_nodes[0] == batch["paper"].batch_size
            assert batch["paper", "cites", "paper"].num_sampled_edges[0] == 0


def test_typed_bidirectional_goes_through_pyg() -> None:
    loader = NeighborLoader(typed(), [2, 2], input_nodes="paper", batch_size=8, subgraph_type="bidirectional")
    with pytest.warns(UserWarning, match="bidirectional"):  # ('venue', 'has', 'paper') has no reverse
        batch = next(iter(loader))
    to = batch["author", "writes", "paper"].edge_index
    back = batch["paper", "rev_writes", "author"].edge_index
    assert set(map(tuple, to.t().tolist())) == set(map(tuple, back.flip(0).t().tolist()))


# -- seeds and workers --------------------------------------------------------------------------------


def epochs(count: int, **options: Any) -> list[Any]:
    loader = NeighborLoader(plain(), [3, 2], batch_size=8, shuffle=True, **options)
    return [batch for _ in range(count) for batch in loader]


def test_an_epoch_is_the_same_for_any_number_of_workers() -> None:
    alone = epochs(2, seed=5)
    same_batches(alone, epochs(2, seed=5))
    same_batches(alone, epochs(2, seed=5, num_workers=1))
    same_batches(alone, epochs(2, seed=5, num_workers=2, persistent_workers=True))
    same_batches(alone, epochs(2, seed=5, num_workers=2, filter_per_worker=False))


def test_workers_that_are_not_forked() -> None:
    same_batches(epochs(1, seed=5), epochs(1, seed=5, num_workers=1, multiprocessing_context="spawn"))


def test_epochs_and_seeds_differ() -> None:
    both = epochs(2, seed=5)
    first, second = both[: len(both) // 2], both[len(both) // 2 :]
    assert not torch.equal(first[0].n_id, second[0].n_id)
    assert not torch.equal(first[0].n_id, epochs(1, seed=6)[0].n_id)
    still = NeighborLoader(plain(), [3, 2], batch_size=8, seed=5)
    one, two = (next(iter(still)) for _ in range(2))
    assert torch.equal(one.input_id, two.input_id)
    assert not torch.equal(one.e_id, two.e_id), "without shuffling, each epoch must still sample anew"


def test_generator_and_global_seed() -> None:
    def with_generator() -> list[Any]:
        return epochs(1, generator=torch.Generator().manual_seed(3))

    same_batches(with_generator(), with_generator())
    torch.manual_seed(3)
    once = epochs(1)
    torch.manual_seed(3)
    same_batches(once, epochs(1))
    with pytest.raises(ValueError, match="seed=1 and a generator were given"):
        epochs(1, seed=1, generator=torch.Generator())


def test_a_given_batch_sampler() -> None:
    batches = [[0, 4], [7], [1, 2, 3]]
    loader = NeighborLoader(plain(), [2], batch_sampler=batches, seed=0)
    assert [b.n_id[: b.batch_size].tolist() for b in loader] == batches
    assert len(loader) == 3
    assert loader([5, 6]).n_id[:2].tolist() == [5, 6]


def test_transforms() -> None:
    def halve(out: Any) -> Any:
        keep = out.row.numel() // 2
        out.row, out.col, out.edge = out.row[:keep], out.col[:keep], out.edge[:keep]
        return out

    def mark(batch: Any) -> Any:
        batch.marked = True
        return batch

    loader = NeighborLoader(plain(), [4], batch_size=8, seed=0)
    whole = next(iter(loader))
    loader = NeighborLoader(
        plain(), [4], batch_size=8, seed=0, transform=mark, transform_sampler_output=halve
    )
    batch = next(iter(loader))
    assert batch.marked
    assert batch.num_edges == whole.num_edges // 2


def test_pinning_is_left_to_torch() -> None:
    if torch.cuda.is_available():
        assert next(iter(NeighborLoader(plain(), [2], batch_size=8, pin_memory=True))).x.is_pinned()
    else:
        with pytest.warns(UserWarning, match="pin_memory"):
            next(iter(NeighborLoader(plain(), [2], batch_size=8, pin_memory=True)))


# -- PyG's own loader ---------------------------------------------------------------------------------


def test_in_pygs_own_loader() -> None:
    data = plain()
    sampler = NeighborSampler(data, [3, 2], seed=4)
    alone, helped = (list(NodeLoader(data, sampler, batch_size=8, num_workers=w)) for w in (0, 2))
    for batch in alone:
        check_plain(batch, data)
    same_batches(alone, helped)
    typed_data = typed()
    loader = NodeLoader(typed_data, NeighborSampler(typed_data, [3, 2]), input_nodes="paper", batch_size=8)
    for batch in loader:
        check_typed(batch, typed_data)


def test_a_sampler_without_a_seed_follows_torch() -> None:
    data = plain()
    loader = NodeLoader(data, NeighborSampler(data, [3, 2]), batch_size=8)
    torch.manual_seed(1)
    one = list(loader)
    torch.manual_seed(1)
    same_batches(one, list(loader))
    assert not torch.equal(next(iter(loader)).e_id, next(iter(loader)).e_id)


# -- weights and times --------------------------------------------------------------------------------


def test_edges_of_weight_zero_are_not_drawn() -> None:
    data = plain()
    data.weight[data.edge_index[0] < 30] = 0
    for batch in NeighborLoader(data, [2, 2], batch_size=16, weight_attr="weight"):
        check_plain(batch, data)
        assert bool((data.edge_index[0, batch.e_id] >= 30).all())


@pytest.mark.parametrize("strategy", ["uniform", "last"])
def test_times_of_nodes(strategy: str) -> None:
    data = plain()
    options: dict[str, Any] = {"time_attr": "time", "temporal_strategy": strategy, "batch_size": 16}
    for batch in NeighborLoader(data, [3, 3], **options):
        check_plain(batch, data)
        limit = data.time[batch.n_id[: batch.batch_size]][batch.batch]
        drawn = torch.arange(batch.num_nodes) >= batch.batch_size
        assert bool((batch.time <= limit)[drawn].all())
    soon = torch.full((NODES,), 5)
    for batch in NeighborLoader(data, [3, 3], input_time=soon, **options):
        assert bool((batch.time[batch.batch_size :] <= 5).all())
        assert torch.equal(batch.seed_time, soon[: batch.batch_size])


def test_times_of_edges_and_types() -> None:
    data = plain()
    at = torch.arange(NODES) % 20
    for batch in NeighborLoader(data, [4, 4], input_time=at, time_attr="edge_time", batch_size=16):
        limit = batch.seed_time[batch.batch][batch.edge_index[1]]
        assert bool((data.edge_time[batch.e_id] <= limit).all())
    data = typed()
    for batch in NeighborLoader(data, [3, 3], input_nodes="paper", time_attr="time", batch_size=9):
        check_typed(batch, data)
        limit = batch["paper"].time[: batch["paper"].batch_size]
        for name in SIZES:
            start = batch["paper"].batch_size if name == "paper" else 0
            assert bool((batch[name].time <= limit[batch[name].batch])[start:].all())


# -- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_neighbors": [2, -3]}, ValueError, r"fanouts=\[2, -3\]"),
        ({"input_time": torch.zeros(NODES)}, ValueError, "input_time is given but time_attr is not"),
        ({"time_attr": "age"}, ValueError, "neither nodes nor edges have the time_attr 'age'"),
        ({"weight_attr": "cost"}, ValueError, "no edges have the weight_attr 'cost'"),
        ({"temporal_strategy": "first"}, ValueError, "temporal_strategy is 'first'"),
        ({"data": "graph"}, TypeError, "got str; pass a Data or HeteroData object"),
        ({"data": (1, 2)}, NotImplementedError, "got a feature store and a graph store"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NeighborLoader(**{"data": plain(), "num_neighbors": [2], "batch_size": 4, **options})


def test_errors_of_a_batch() -> None:
    data = plain()
    with pytest.raises(ValueError, match="names node 60 but the graph has 60 nodes"):
        next(iter(NeighborLoader(data, [2], input_nodes=torch.tensor([60]))))
    with pytest.raises(ValueError, match="no input_time; pass the time of each seed"):
        next(iter(NeighborLoader(data, [2], time_attr="edge_time")))
    data.adj_t = torch.eye(NODES).to_sparse_csr()
    del data.edge_index
    with pytest.raises(NotImplementedError, match="adj_t as a torch sparse tensor"):
        NeighborLoader(data, [2])
