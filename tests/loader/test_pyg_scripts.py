"""Training scripts as people write them for PyG, with only the import of the loader changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv
from torch_geometric.transforms import NormalizeFeatures, RandomLinkSplit

from gnnlib.data import load
from gnnlib.loader import (
    ClusterData,
    ClusterLoader,
    LinkNeighborLoader,
    NeighborLoader,
    ShaDowKHopSampler,
)


class Net(torch.nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(in_channels, 32), SAGEConv(32, out_channels)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.conv1(x, edge_index).relu(), 0.5, self.training)
        return self.conv2(x, edge_index)


@pytest.fixture(scope="module")
def cora(data_root: Path) -> Data:
    loaded = load("cora", data_root)
    data = loaded.dataset[0]
    graph = Data(x=data.x, y=data.y, edge_index=data.edge_index)
    for part in ("train", "val", "test"):
        mask = torch.zeros(graph.num_nodes, dtype=torch.bool)
        mask[getattr(loaded.split, part)] = True
        graph[f"{part}_mask"] = mask
    return NormalizeFeatures()(graph)


def test_neighbor_loader(cora: Data) -> None:
    loader = NeighborLoader(
        cora, num_neighbors=[10, 10], batch_size=64, input_nodes=cora.train_mask, shuffle=True
    )
    subgraph_loader = NeighborLoader(
        cora, num_neighbors=[-1, -1], batch_size=1024, input_nodes=cora.test_mask
    )
    model = Net(cora.num_features, 7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(30):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            out = model(batch.x, batch.edge_index)[: batch.batch_size]
            F.cross_entropy(out, batch.y[: batch.batch_size]).backward()
            optimizer.step()
    model.eval()
    correct = 0
    for batch in subgraph_loader:
        out = model(batch.x, batch.edge_index)[: batch.batch_size]
        correct += int((out.argmax(-1) == batch.y[: batch.batch_size]).sum())
    # The largest class alone would give 0.30.
    assert correct / int(cora.test_mask.sum()) > 0.7


def test_link_neighbor_loader(cora: Data) -> None:
    split = RandomLinkSplit(num_val=0.05, num_test=0.1, is_undirected=True, add_negative_train_samples=False)
    train_data, _, test_data = split(cora)
    loader = LinkNeighborLoader(
        train_data,
        num_neighbors=[20, 10],
        neg_sampling=dict(mode="binary", amount=1.0),  # noqa: C408 - as such scripts write it
        edge_label_index=train_data.edge_label_index,
        batch_size=512,
        shuffle=True,
    )
    test_loader = LinkNeighborLoader(
        test_data,
        num_neighbors=[-1, -1],
        edge_label_index=test_data.edge_label_index,
        edge_label=test_data.edge_label,
        batch_size=1024,
    )
    model = Net(cora.num_features, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            h = model(batch.x, batch.edge_index)
            src, dst = batch.edge_label_index
            F.binary_cross_entropy_with_logits((h[src] * h[dst]).sum(-1), batch.edge_label).backward()
            optimizer.step()
    model.eval()
    scores, truth = [], []
    with torch.no_grad():
        for batch in test_loader:
            h = model(batch.x, batch.edge_index)
            src, dst = batch.edge_label_index
            scores.append((h[src] * h[dst]).sum(-1))
            truth.append(batch.edge_label)
    assert roc_auc_score(torch.cat(truth), torch.cat(scores)) > 0.7


@pytest.mark.parametrize("kind", ["cluster", "shadow"])
def test_subgraph_loaders(cora: Data, kind: str) -> None:
    model = Net(cora.num_features, 7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    if kind == "cluster":
        loader = ClusterLoader(ClusterData(cora, num_parts=20), batch_size=5, shuffle=True)
    else:
        loader = ShaDowKHopSampler(cora, depth=2, num_neighbors=5, node_idx=cora.train_mask, batch_size=35)
    for _ in range(25):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            out = model(batch.x, batch.edge_index)
            if kind == "cluster":
                if not bool(batch.train_mask.any()):
                    continue
                loss = F.cross_entropy(out[batch.train_mask], batch.y[batch.train_mask])
            else:
                loss = F.cross_entropy(out[batch.root_n_id], batch.y)
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = (model(cora.x, cora.edge_index).argmax(-1) == cora.y)[cora.test_mask]
    assert float(right.float().mean()) > 0.65
