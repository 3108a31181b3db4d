"""Node classification in a plain PyTorch loop: a two-layer GCN tells 1,797 handwritten digits apart.

The bundled dataset has one node an image and links it to its nearest neighbours; a few nodes of each class
carry a label. The model with the best validation score is the one whose test score is printed.

    python examples/node_classification.py
    python examples/node_classification.py --dataset cora      # looked up in $GNNLIB_DATA, or downloaded
"""

from __future__ import annotations

import argparse
import copy
import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
from torch import Tensor
from torch.nn import functional as F

from gnnlib.data import load
from gnnlib.nn import GCNConv


class GCN(torch.nn.Module):
    """Two propagation steps with a hidden layer between them."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = GCNConv(in_channels, hidden_channels)
        self.second = GCNConv(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = F.relu(self.first(x, edge_index))
        x = F.dropout(x, 0.5, self.training)
        return self.second(x, edge_index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="five epochs, to see that it runs")
    args = parser.parse_args()
    epochs = 5 if args.quick else args.epochs

    torch.manual_seed(0)
    loaded = load(args.dataset)
    data, split, metric = loaded.dataset[0], loaded.split, loaded.metric
    model = GCN(data.num_features, 64, loaded.num_outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    best, kept = float("-inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad()
        logits = model(data.x, data.edge_index)
        loss = F.cross_entropy(logits[split.train], data.y[split.train])
        loss.backward()
        optimizer.step()

        model.eval()
        with torch.no_grad():
            logits = model(data.x, data.edge_index)
        score = metric.fn(data.y[split.val], logits[split.val])
        if score > best:
            best, kept = score, copy.deepcopy(model.state_dict())
        if epoch % 50 == 0 or epoch == epochs:
            print(f"epoch {epoch:3d}  loss {loss.item():.3f}  validation {metric.name} {score:.3f}")

    model.load_state_dict(kept)
    model.eval()
    with torch.no_grad():
        logits = model(data.x, data.edge_index)
    print(f"test {metric.name} {metric.fn(data.y[split.test], logits[split.test]):.3f}")


if __name__ == "__main__":
    main()
