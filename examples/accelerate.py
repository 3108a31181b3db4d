"""PyG's own GCN and GAT, made faster in two lines: the models of PyG's example scripts, unchanged.

``gnnlib.accelerate`` puts the layers of a PyG model on the sparse core. Weights and results stay: this prints
the largest difference of the outputs and the time of a training step of each, while it trains both. On Cora
most of a step is dropout and the product of 1,433 dense features, which are the same in both.

    python examples/accelerate.py                     # Cora where $GNNLIB_DATA has it, else the bundled graph
    python examples/accelerate.py --dataset citeseer
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GCNConv

import gnnlib  # the first of the two lines
from gnnlib.data import load


class GCN(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = GCNConv(in_channels, 16)
        self.conv2 = GCNConv(16, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = F.relu(self.conv1(x, edge_index))
        x = F.dropout(x, 0.5, self.training)
        return self.conv2(x, edge_index)


class GAT(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = GATConv(in_channels, 8, heads=8, dropout=0.6)
        self.conv2 = GATConv(64, out_channels, heads=1, concat=False, dropout=0.6)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.6, self.training)
        x = F.elu(self.conv1(x, edge_index))
        x = F.dropout(x, 0.6, self.training)
        return self.conv2(x, edge_index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cora" if os.environ.get("GNNLIB_DATA") else "digits")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="five epochs, to see that it runs")
    args = parser.parse_args()
    epochs = 5 if args.quick else args.epochs

    torch.manual_seed(0)
    loaded = load(args.dataset)
    data, split, metric = loaded.dataset[0], loaded.split, loaded.metric
    x, edge_index = data.x, data.edge_index

    def trainer(model: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

        def step() -> None:
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(x, edge_index)[split.train], data.y[split.train]).backward()
            optimizer.step()

        return step

    score = 0.0
    for make in (GCN, GAT):
        stock = make(data.num_features, loaded.num_outputs)
        fast = gnnlib.accelerate(
            copy.deepcopy(stock)
        )  # the second line; in place, so a copy is compared here

        with torch.no_grad():
            apart = (fast.eval()(x, edge_index) - stock.eval()(x, edge_index)).abs().max().item()
        steps = {"PyG": trainer(stock), "accelerated": trainer(fast)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(epochs):
            for name, step in steps.items():  # in turn, so that a busy machine slows both
                start = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - start)
        slow, quick = (1e3 * statistics.median(times) for times in seconds.values())
        print(f"{make.__name__}: a training step takes {slow:.1f} ms in PyG, {quick:.1f} ms accelerated,")
        print(f"     {slow / quick:.1f} times faster; the outputs differ by {apart:.0e} at most")
        print(gnnlib.doctor(fast))
        with torch.no_grad():
            logits = fast.eval()(x, edge_index)
        score = max(score, metric.fn(data.y[split.test], logits[split.test]))
    print(f"test {metric.name} {score:.3f}")


if __name__ == "__main__":
    main()
