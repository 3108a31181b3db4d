"""A small graph on a GPU: the whole training step recorded as one CUDA graph.

A step on Cora is a hundred small kernels, and starting them takes longer than running them. ``GraphedStep``
records the step once and then starts it as a whole. Model, data and loop are those of any script; the
step only has to keep to tensors that exist already. Without a GPU this says so and stops.

    python examples/cuda_graph.py                     # Cora where $GNNLIB_DATA has it, else the bundled graph
    python examples/cuda_graph.py --epochs 500
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.data import load
from gnnlib.nn import GCNConv
from gnnlib.train import GraphedStep


class GCN(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = GCNConv(in_channels, 16, cached=True)
        self.conv2 = GCNConv(16, out_channels, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = F.relu(self.conv1(x, edge_index))
        x = F.dropout(x, 0.5, self.training)
        return self.conv2(x, edge_index)


def seconds_per_step(step: Callable[[], Tensor], count: int) -> float:
    """Mean time of a step, with the device waited for at both ends."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cora" if "GNNLIB_DATA" in os.environ else "digits")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a few epochs")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device that torch can use: a CUDA graph needs one, so there is nothing to show here")
        return

    device = torch.device("cuda")
    loaded = load(args.dataset)
    data, split = loaded.dataset[0].to(device), loaded.split
    train, test = split.train.to(device), split.test.to(device)
    torch.manual_seed(0)
    model = GCN(loaded.num_features, loaded.num_outputs).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4, capturable=True)
    target = data.y[train]

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(data.x, data.edge_index).index_select(0, train), target)
        loss.backward()
        optimizer.step()
        return loss

    epochs = 20 if args.quick else args.epochs
    eager = seconds_per_step(step, epochs // 2)
    graphed = seconds_per_step(GraphedStep(step), epochs // 2)
    print(f"a step takes {eager * 1e3:.2f} ms, recorded as a CUDA graph {graphed * 1e3:.2f} ms")
    model.eval()
    with torch.no_grad():
        right = model(data.x, data.edge_index)[test].argmax(-1) == data.y[test]
    print(f"test accuracy {right.float().mean().item():.3f}")


if __name__ == "__main__":
    main()
