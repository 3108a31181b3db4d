"""Mini-batches for a graph that is too large for one step: sampled neighbours, trained on seed nodes.

PyG's NeighborLoader with only the import changed. Each batch has 64 seed nodes, up to ten neighbours of
each and five of each of those; evaluation takes all neighbours. The bundled digits need no download;
``--dataset cora`` and the other node datasets work too.

    python examples/neighbor_sampling.py
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Data

from gnnlib.data import load
from gnnlib.loader import NeighborLoader
from gnnlib.nn import SAGEConv


class SAGE(torch.nn.Module):
    """Two SAGE layers."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = SAGEConv(in_channels, hidden_channels)
        self.second = SAGEConv(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.first(x, edge_index)), 0.5, self.training)
        return self.second(x, edge_index)


@torch.no_grad()
def accuracy(model: SAGE, loader: NeighborLoader) -> float:
    """Share of the loader's seed nodes whose class is predicted."""
    model.eval()
    right = total = 0
    for batch in loader:
        out = model(batch.x, batch.edge_index)[: batch.batch_size]
        right += int((out.argmax(dim=1) == batch.y[: batch.batch_size]).sum())
        total += batch.batch_size
    return right / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that sample; the batches are the same"
    )
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    args = parser.parse_args()

    torch.manual_seed(0)
    loaded = load(args.dataset)
    data, split = loaded.dataset[0], loaded.split
    graph = Data(x=data.x, y=data.y.view(-1), edge_index=data.edge_index)
    train = NeighborLoader(
        graph, [10, 5], split.train, batch_size=64, shuffle=True, seed=0, num_workers=args.workers
    )
    valid = NeighborLoader(graph, [-1, -1], split.val, batch_size=256)
    test = NeighborLoader(graph, [-1, -1], split.test, batch_size=256)
    model = SAGE(loaded.num_features, 64, loaded.num_outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    best, chosen = 0.0, 0.0
    for epoch in range(1 if args.quick else args.epochs):
        model.train()
        for batch in train:
            optimizer.zero_grad()
            out = model(batch.x, batch.edge_index)[: batch.batch_size]
            loss = F.cross_entropy(out, batch.y[: batch.batch_size])
            loss.backward()
            optimizer.step()
        found = accuracy(model, valid)
        if found > best:
            best, chosen = found, accuracy(model, test)
        print(f"epoch {epoch + 1}  validation accuracy {found:.3f}")
    print(f"test accuracy {chosen:.3f}")


if __name__ == "__main__":
    main()
