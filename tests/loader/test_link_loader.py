"""LinkNeighborLoader: negatives, where links are in a batch (PyG's code as the oracle), times, workers."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling
from torch_geometric.sampler import neighbor_sampler as pyg

from gnnlib.loader import LinkNeighborLoader, NeighborSampler, links
from gnnlib.loader.graph import PLAIN
from gnnlib.loader.links import TimeOrder
from tests.loader.graphs import EDGES, NODES, SIZES, check_plain, check_typed, plain, same_batches, typed

WRITES = ("author", "writes", "paper")
CITES = ("paper", "cites", "paper")


def test_binary_negatives() -> None:
    data = plain()
    loader = LinkNeighborLoader(data, [3, 2], neg_sampling="binary", batch_size=32)
    assert len(loader) == -(-EDGES // 32)
    for batch in loader:
        check_plain(batch, data)
        size = batch.input_id.numel()
        ends = batch.n_id[batch.edge_label_index]
        assert torch.equal(ends[:, :size], data.edge_index[:, batch.input_id])
        assert torch.equal(batch.edge_label, torch.arange(2 * size).lt(size).float())
        assert sum(batch.num_sampled_nodes) == batch.num_nodes


def test_labels_move_up_by_one() -> None:
    data, label = plain(), torch.arange(EDGES) % 4
    batch = next(iter(LinkNeighborLoader(data, [2], edge_label=label, neg_sampling_ratio=0.5, batch_size=8)))
    assert batch.edge_label.tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 0, 0, 0, 0]
    batch = next(iter(LinkNeighborLoader(data, [2], edge_label=label, batch_size=8)))
    assert batch.edge_label.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert "edge_label" not in next(iter(LinkNeighborLoader(data, [2], batch_size=8)))


@pytest.mark.parametrize("amount", [1, 3])
@pytest.mark.parametrize("disjoint", [False, True])
def test_triplets(amount: int, disjoint: bool) -> None:
    data = plain()
    negatives = {"mode": "triplet", "amount": amount}
    loader = LinkNeighborLoader(data, [3, 2], neg_sampling=negatives, batch_size=32, disjoint=disjoint)
    for batch in loader:
        check_plain(batch, data)
        ends = torch.stack([batch.n_id[batch.src_index], batch.n_id[batch.dst_pos_index]])
        assert torch.equal(ends, data.edge_index[:, batch.input_id])
        size = batch.input_id.numel()
        assert batch.dst_neg_index.shape == ((size, amount) if amount > 1 else (size,))
        if disjoint:
            for at in (batch.src_index, batch.dst_pos_index, *batch.dst_neg_index.view(-1, amount).t()):
                assert torch.equal(batch.batch[at], torch.arange(size))
        assert "edge_label_index" not in batch


def configs() -> list[NegativeSampling | None]:
    return [
        None,
        NegativeSampling("binary", 1),
        NegativeSampling("binary", 1.5),
        NegativeSampling("triplet", 1),
        NegativeSampling("triplet", 2),
    ]


def fixed(endpoint: str, count: int, num_nodes: int) -> Tensor:
    """The same "random" negatives for both implementations."""
    return (torch.arange(count) * 7 + (3 if endpoint == "src" else 5)) % num_nodes


@pytest.mark.parametrize("kind", [None, WRITES, CITES], ids=lambda k: "plain" if k is None else k[1])
@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("disjoint", [False, True])
def test_links_are_where_pyg_puts_them(
    kind: Any, temporal: bool, disjoint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plain() if kind is None else typed()
    edge_index = data.edge_index if kind is None else data[kind].edge_index
    sampler = NeighborSampler(data, [3, 2], disjoint=disjoint, time_attr="time" if temporal else None)
    sizes: Any = NODES if kind is None else SIZES
    monkeypatch.setattr(
        pyg,
        "neg_sample",
        lambda seed, config, num_nodes, *_, endpoint: fixed(
            endpoint, -int(-seed.numel() * config.amount // 1), num_nodes
        ),
    )
    monkeypatch.setattr(links, "negatives", lambda config, end, count, size, *_: fixed(end, count, size))

    def pyg_draw(seed: Any, time: Any) -> Any:
        if kind is None:
            seed, time = {PLAIN: seed}, None if time is None else {PLAIN: time}
        return sampler._draw(seed, time, 9)

    draw = sampler._draw
    for config in configs():
        triplet = config is not None and config.is_triplet()
        for label in (None,) if triplet else (None, torch.arange(1, 9)):
            inputs = EdgeSamplerInput(
                torch.arange(8), *edge_index[:, :8], label, torch.arange(8) + 6 if temporal else None, kind
            )
            node_time = None
            if temporal:
                node_time = data.time if kind is None else {t: data[t].time for t in SIZES}
            theirs = pyg.edge_sample(inputs, pyg_draw, sizes, disjoint or temporal, node_time, config)
            monkeypatch.setattr(sampler, "_draw", lambda seeds, times, _: draw(seeds, times, 9))
            ours = sampler.sample_from_edges(inputs, config)
            monkeypatch.setattr(sampler, "_draw", draw)
            for a, b in zip(ours.metadata, theirs.metadata, strict=True):
                assert (a is None and b is None) or torch.equal(a, b)
            for name in ("node", "row", "col", "edge", "batch"):
                assert repr(getattr(ours, name)) == repr(getattr(theirs, name))


def test_typed_links() -> None:
    data = typed()
    loader = LinkNeighborLoader(
        data, [3, 2], edge_label_index=(WRITES, None), neg_sampling="binary", batch_size=32
    )
    for batch in loader:
        check_typed(batch, data)
        store, size = batch[WRITES], batch[WRITES].input_id.numel()
        row, col = store.edge_label_index
        ends = torch.stack([batch["author"].n_id[row], batch["paper"].n_id[col]])[:, :size]
        assert torch.equal(ends, data[WRITES].edge_index[:, store.input_id])
    loader = LinkNeighborLoader(
        data, [3, 2], edge_label_index=CITES, neg_sampling={"mode": "triplet"}, batch_size=32
    )
    for batch in loader:
        ends = torch.stack([batch["paper"].n_id[batch["paper"][n]] for n in ("src_index", "dst_pos_index")])
        assert torch.equal(ends, data[CITES].edge_index[:, batch[CITES].input_id])


def test_any_number_of_workers() -> None:
    def run(**options: Any) -> list[Any]:
        loader = LinkNeighborLoader(
            plain(), [3, 2], neg_sampling="binary", batch_size=40, shuffle=True, seed=2, **options
        )
        return [batch for _ in range(2) for batch in loader]

    alone = run()
    same_batches(alone, run(num_workers=2))
    assert not torch.equal(alone[0].input_id, alone[len(alone) // 2].input_id)


def test_in_pygs_own_loader() -> None:
    data = plain()
    sampler = NeighborSampler(data, [3, 2], seed=0)
    batches = list(LinkLoader(data, sampler, neg_sampling="binary", batch_size=50))
    for batch in batches:
        check_plain(batch, data)
    same_batches(
        batches, list(LinkLoader(data, sampler, neg_sampling="binary", batch_size=50, num_workers=2))
    )


# -- distribution of negatives ------------------------------------------------------------------------


def negative_ends(**options: Any) -> Tensor:
    """Negative ends ``[2, K]`` of an epoch over many links."""
    data = plain()
    pairs = data.edge_index.repeat(1, 40)
    (batch,) = LinkNeighborLoader(
        data, [0], edge_label_index=pairs, batch_size=pairs.shape[1], seed=3, **options
    )
    return batch.n_id[batch.edge_label_index][:, pairs.shape[1] :]


def fits(found: Tensor, weight: Tensor) -> None:
    keep = weight > 0
    counts = found.bincount(minlength=weight.numel())
    assert counts[~keep].sum() == 0
    if int(keep.sum()) == 1:
        return
    expected = weight[keep] / weight.sum() * counts.sum()
    assert stats.chisquare(counts[keep].numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3


def test_uniform_and_weighted_negatives() -> None:
    src, dst = negative_ends(neg_sampling="binary")
    fits(src, torch.ones(NODES))
    fits(dst, torch.ones(NODES))
    paired = Counter(zip((src % 2).tolist(), (dst % 2).tolist(), strict=True))
    assert stats.chisquare([paired[p] for p in itertools.product(range(2), repeat=2)]).pvalue > 1e-3
    weight = torch.arange(NODES) % 4 + 0.0
    src, dst = negative_ends(neg_sampling=NegativeSampling("binary", 1, dst_weight=weight))
    fits(src, torch.ones(NODES))
    fits(dst, weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_negatives_within_the_time(weighted: bool) -> None:
    time = torch.tensor([3, 1, 7, 3, 2, 9])
    weight = torch.tensor([1.0, 2.0, 3.0, 0.0, 2.0, 1.0])
    draw = torch.Generator().manual_seed(0)
    order = TimeOrder(time)
    for limit in range(1, 10):
        found = order.draw(torch.full((4000,), limit), weight if weighted else None, draw)
        fits(found, (weight if weighted else torch.ones(6)) * (time <= limit))
    assert order.draw(torch.tensor([0, -4]), None, draw).tolist() == [1, 1], (
        "the earliest where all are later"
    )


def test_times() -> None:
    data = plain()
    at = torch.randint(20, (EDGES,))
    loader = LinkNeighborLoader(
        data,
        [3, 3],
        edge_label_time=at,
        time_attr="time",
        neg_sampling={"mode": "triplet", "amount": 2},
        batch_size=50,
    )
    earliest = int(data.time.min())
    for batch in loader:
        seeds = torch.cat([batch.src_index, batch.dst_pos_index, batch.dst_neg_index.flatten()])
        drawn = torch.ones(batch.num_nodes, dtype=torch.bool).scatter_(0, seeds, False)
        assert bool((batch.time <= batch.seed_time[batch.batch])[drawn].all())
        late = batch.time[batch.dst_neg_index] > batch.seed_time[:, None]
        assert bool((batch.time[batch.dst_neg_index][late] == earliest).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_label_time": torch.zeros(EDGES)}, "edge_label_time is given but time_attr is not"),
        ({"time_attr": "time"}, "time_attr is given but edge_label_time is not"),
        (
            {"neg_sampling": NegativeSampling("binary", dst_weight=torch.ones(3))},
            "dst_weight has 3 entries but there are 60 nodes",
        ),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(iter(LinkNeighborLoader(plain(), [2], batch_size=4, **options)))
