"""Which edges a link model may see: held-out ones never, those of its own batch on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnnlib import data, models
from gnnlib.models.configs import GAEConfig
from gnnlib.models.entry import Entry
from gnnlib.models.heads import LinkModel
from gnnlib.sparse import CSR, as_csr
from gnnlib.train import TrainConfig, predict, run
from gnnlib.train.tasks import make_task
from gnnlib.train.tasks.link import labelled
from gnnlib.train.tasks.messages import MessageGraph
from tests.train.conftest import with_graph

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


class Looking(LinkModel):
    """Adds a learned multiple of "there is an edge" to the inner product, and keeps the graphs it was shown.

    The graph decides the score of a pair, so a target that is still there shows.
    """

    uses_graph = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[CSR, Tensor]] = []

    def decode(self, z: Tensor, pairs: Tensor, graph: Any = None) -> Tensor:
        assert graph is not None
        self.seen.append((graph, pairs))
        linked = as_csr(graph, z.size(0)).to_dense()[pairs[0], pairs[1]]
        return super().decode(z, pairs) + self.weight * linked


@pytest.fixture(autouse=True)
def _looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model ``looking`` for the time of a test."""

    def whole(config: Any, task: Any, i: int, o: int) -> nn.Module:
        encoder = models.registry._MODELS["gae"].encoder
        assert encoder is not None
        return Looking(config, encoder(config, task, i, config.out_channels))

    entry = Entry(GAEConfig, tasks=frozenset({"link"}), whole=whole)
    monkeypatch.setitem(models.registry._MODELS, "looking", entry)


def task_of(loaded: data.Loaded, **options: Any) -> Any:
    values = {"dataset": "les-miserables", "model": "looking", "batch_size": 20, **options}
    return make_task(loaded, TrainConfig(**values), torch.device("cpu"))


def pairs_of(graph: Any) -> set[tuple[int, int]]:
    index = graph.edge_index if isinstance(graph, CSR) else graph
    return set(map(tuple, index.t().tolist()))


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_held_out_edge_among_the_messages_is_refused(
    part: str, flipped: bool, quick: Quick, given: Given
) -> None:
    honest = data.load("les-miserables")
    edges = honest.dataset[0].edge_index
    leak = getattr(honest.split, f"{part}_pos")[:, 3:4]
    leaked = with_graph(honest, edge_index=torch.cat([edges, leak.flip(0) if flipped else leak], dim=1))
    given(leaked)
    word = {"val": "validation", "test": "test"}[part]
    with pytest.raises(ValueError, match=f"les-miserables: 1 {word} edges are in the graph that messages"):
        run(quick(dataset="les-miserables", model="gae"))
    assert not Path(quick().out or "").exists()
    given(honest)
    run(quick(dataset="les-miserables", model="gae", epochs=1))


def test_every_split_is_checked_when_it_is_taken() -> None:
    first = data.load("les-miserables")
    task = task_of(first)
    other = dataclasses.replace(first, split=first.splits[1])  # another split with the graph of the first
    with pytest.raises(ValueError, match="the model would see what it is asked"):
        task.take(other)


def test_a_held_out_pair_that_is_a_training_edge_too_is_no_leak() -> None:
    honest = data.load("les-miserables")
    again = honest.split.train_edges[:, :2].flip(0)
    split = dataclasses.replace(honest.split, val_pos=torch.cat([honest.split.val_pos, again], dim=1))
    task_of(dataclasses.replace(honest, split=split))


def test_a_message_graph_without_some_edges() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 4, 4], [1, 2, 3, 4, 0, 0]])
    graph = MessageGraph(edges, 6)
    assert pairs_of(graph.adj) == pairs_of(torch.cat([edges, edges.flip(0)], dim=1))
    assert graph.adj.num_edges == 10
    fewer = graph.without(torch.tensor([[2, 0, 5, 0], [1, 4, 5, 2]]))  # two edges, a loop and a non-edge
    assert pairs_of(graph.adj) - pairs_of(fewer) == {(1, 2), (2, 1), (0, 4), (4, 0)}
    assert fewer.num_edges == 6
    rows = [fewer.indices[a:b] for a, b in zip(fewer.indptr, fewer.indptr[1:], strict=False)]
    assert all(bool((row.diff() > 0).all()) for row in rows)
    assert graph.without(torch.empty(2, 0, dtype=torch.int64)).num_edges == 10
    assert MessageGraph(edges[:, :0], 6).without(edges).num_edges == 0


def test_the_targets_of_a_batch_are_not_seen() -> None:
    task = task_of(data.load("les-miserables"))
    model = task.build()
    batch = next(iter(task.batches(torch.Generator().manual_seed(0))))
    task.loss(model, batch)
    graph, pairs = model.seen.pop()
    assert pairs.equal(batch.pairs)
    targets = batch.pairs[:, batch.label > 0]
    assert targets.size(1) == 20
    assert pairs_of(task.messages.adj) - pairs_of(graph) == pairs_of(targets) | pairs_of(targets.flip(0))
    with torch.no_grad():
        task.evaluate(model, ("val",))
    assert model.seen.pop()[0] is task.messages.adj


@pytest.mark.parametrize("name", ["looking", "ncn", "ncnc"])
def test_codes_and_scores_of_a_target_do_not_depend_on_its_edge(name: str) -> None:
    """Whether the stored graph has the target or not, a training step computes the same."""
    loaded = data.load("les-miserables")
    task = task_of(loaded, model=name)
    model = task.build().eval()
    target = loaded.split.train_edges[:, :7]
    batch = labelled(target, loaded.split.val_neg[:, :7])
    edges = loaded.dataset[0].edge_index
    there = {tuple(p) for p in torch.cat([target, target.flip(0)], dim=1).t().tolist()}
    kept = torch.tensor([tuple(p) not in there for p in edges.t().tolist()])
    other = task_of(with_graph(loaded, edge_index=edges[:, kept]), model=name)
    a, b = (t.loss(model, batch)[0] for t in (task, other))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    with_targets = task_of(loaded, model=name, remove_targets=False).loss(model, batch)[0]
    assert not torch.isclose(with_targets, a)


def test_a_last_small_batch_can_be_left_out() -> None:
    loaded = data.load("les-miserables")
    count = loaded.split.train_edges.size(1)
    for drop_last, sizes in ((False, [count - count % 20, count % 20]), (True, [count - count % 20])):
        task = task_of(loaded, drop_last=drop_last)
        found = [b.pairs.size(1) // 2 for b in task.batches(torch.Generator().manual_seed(0))]
        assert [sum(found[: count // 20]), *found[count // 20 :]] == sizes
    assert count % 20


def test_other_models_keep_their_targets_unless_asked() -> None:
    loaded = data.load("les-miserables")
    seen: list[Any] = []

    class Encoder(nn.Module):
        uses_graph = False

        def forward(self, x: Tensor, edge_index: Any, pairs: Tensor) -> Tensor:
            seen.append(edge_index)
            return pairs[0] * 0.0

    for asked, expected in ((None, 0), (True, 40)):
        task = task_of(loaded, model="gae", remove_targets=asked)
        batch = next(iter(task.batches(torch.Generator().manual_seed(0))))
        task.loss(Encoder(), batch)
        assert len(pairs_of(loaded.dataset[0].edge_index)) - len(pairs_of(seen[-1])) == expected
    assert pairs_of(task_of(loaded, model="gae")._graph(Encoder())) == pairs_of(task.messages.adj)


def test_a_run_of_a_model_that_looks(quick: Quick, tmp_path: Path) -> None:
    result = run(quick(dataset="les-miserables", model="looking", batch_size=20, epochs=3))
    with (
        np.load(predict(result.path, tmp_path / "p.npz")) as rows,
        np.load(result.path / "seed-0" / "predictions.npz") as kept,
    ):
        test = rows["part"] == "test"
        np.testing.assert_allclose(rows["score"][test], kept["test_score"], rtol=1e-5)
    model, x = task_of(data.load("les-miserables")).build(), torch.randn(77, 77)
    edges = data.load("les-miserables").dataset[0].edge_index
    z = model.encode(x, edges)
    torch.testing.assert_close(model(x, edges, edges[:, :9]), model.decode(z, edges[:, :9], edges))


def test_what_does_not_go_together_is_refused() -> None:
    loaded = data.load("les-miserables")
    for size in (None, 10_000):
        with pytest.raises(ValueError, match=r"holds all \d+; pass a smaller batch_size, such as"):
            task_of(loaded, batch_size=size).build()
    with pytest.raises(ValueError, match="the decoder of model 'looking' looks at the graph"):
        task_of(loaded, batch_size=None, negatives="all", remove_targets=False).build()
    with pytest.raises(ValueError, match="drop remove_targets"):
        TrainConfig(dataset="les-miserables", model="gae", negatives="all", remove_targets=True)
    with pytest.raises(ValueError, match="davis: remove_targets is offered for links between nodes"):
        task_of(data.load("davis"), dataset="davis", model="unisage", remove_targets=True)


@pytest.mark.parametrize("name", ["ncn", "ncnc"])
def test_nodes_without_features_have_learned_codes(name: str, quick: Quick, given: Given) -> None:
    bare = with_graph(data.load("les-miserables"), x=None, num_nodes=77)
    given(dataclasses.replace(bare, num_features=0))
    options = {"dataset": "les-miserables", "model": name, "batch_size": 50, "epochs": 2}
    with pytest.raises(ValueError, match=f"the graph has no features x, which model '{name}' needs"):
        run(quick(**options))
    result = run(quick(**options, model_options={"num_embeddings": 77, "hidden_channels": 16}))
    assert result.runs[0]["losses"]["val"] > 0
    with pytest.raises(ValueError, match="the graph has 77 nodes but num_embeddings=76"):
        run(quick(**options, out=str(result.path) + "-b", model_options={"num_embeddings": 76}))
