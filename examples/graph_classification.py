"""Graph classification: every handwritten digit is a small graph of its inked pixels; a GIN names the digit.

The images are the real 8 x 8 scans that ship with scikit-learn. A node is a pixel with ink, its features are
the ink and the position, and it is linked to the inked pixels around it. PyG's DataLoader makes the batches.

    python examples/graph_classification.py
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from gnnlib.nn import MLP, GINConv, global_mean_pool


def pixel_graph(image: Tensor, label: int) -> Data:
    """The inked pixels of one image, linked to those at most one row and one column away."""
    pos = image.nonzero()  # [N, 2]
    near = (pos[:, None] - pos[None]).abs().amax(-1) == 1  # [N, N]
    ink = image[pos[:, 0], pos[:, 1]]
    x = torch.cat([ink[:, None] / 16, pos / 7], dim=1)  # [N, 3]
    return Data(x=x.float(), edge_index=near.nonzero().t().contiguous(), y=label)


class GIN(torch.nn.Module):
    """Three GIN layers; a graph is the mean of its nodes after each of them."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        sizes = [in_channels] + 2 * [hidden_channels]
        self.convs = torch.nn.ModuleList(
            GINConv(MLP([size, hidden_channels, hidden_channels], norm="batch_norm")) for size in sizes
        )
        self.out = torch.nn.Linear(3 * hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, size: int) -> Tensor:
        pooled = []
        for conv in self.convs:
            x = F.relu(conv(x, edge_index))
            pooled.append(global_mean_pool(x, batch, size))
        return self.out(torch.cat(pooled, dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="300 images and one epoch, to see that it runs")
    args = parser.parse_args()

    torch.manual_seed(0)
    digits = load_digits()
    count = 300 if args.quick else len(digits.target)
    images = torch.from_numpy(digits.images[:count])
    graphs = [pixel_graph(image, int(y)) for image, y in zip(images, digits.target[:count], strict=True)]
    order = torch.randperm(count).tolist()
    cut = count * 4 // 5
    train = DataLoader([graphs[i] for i in order[:cut]], batch_size=64, shuffle=True)
    test = DataLoader([graphs[i] for i in order[cut:]], batch_size=256)

    model = GIN(3, 64, 10)
    epochs = 1 if args.quick else args.epochs
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for batch in train:
            optimizer.zero_grad()
            logits = model(batch.x, batch.edge_index, batch.batch, batch.num_graphs)
            loss = F.cross_entropy(logits, batch.y)
            loss.backward()
            optimizer.step()
            total += loss.item() * batch.num_graphs
        schedule.step()
        print(f"epoch {epoch:2d}  loss {total / cut:.3f}")

    model.eval()
    hits = 0
    with torch.no_grad():
        for batch in test:
            logits = model(batch.x, batch.edge_index, batch.batch, batch.num_graphs)
            hits += int((logits.argmax(1) == batch.y).sum())
    print(f"test accuracy {hits / (count - cut):.3f}")


if __name__ == "__main__":
    main()
