"""A GNN of your own: gnnlib's layers beside PyTorch Geometric's, in one plain torch module.

Digit images (bundled) are the nodes, each linked to its nearest neighbours. The first layer is gnnlib's
GATConv, the second PyG's TransformerConv, the norm between them PyG's too: same call, same edge_index. At the
end the weights of the first layer move into PyG's GATConv, which gives the same output.

    python examples/custom_gnn.py
    python examples/custom_gnn.py --quick
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn import functional as F

from gnnlib.data import load
from gnnlib.nn import GATConv


class Net(torch.nn.Module):
    """Attention from gnnlib, then PyG's transformer layer."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.attend = GATConv(in_channels, hidden_channels // 4, heads=4)
        self.norm = pyg.LayerNorm(hidden_channels)
        self.out = pyg.TransformerConv(hidden_channels, out_channels, heads=1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.elu(self.norm(self.attend(x, edge_index)))
        x = F.dropout(x, 0.3, self.training)
        return self.out(x, edge_index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="three epochs, to see that it runs")
    args = parser.parse_args()
    epochs = 3 if args.quick else args.epochs

    torch.manual_seed(0)
    loaded = load("digits")
    data, split = loaded.dataset[0], loaded.split
    model = Net(data.num_features, 64, loaded.num_outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad()
        logits = model(data.x, data.edge_index)
        loss = F.cross_entropy(logits[split.train], data.y[split.train])
        loss.backward()
        optimizer.step()
        if epoch % 20 == 0 or epoch == epochs:
            print(f"epoch {epoch:3d}  loss {loss.item():.3f}")

    model.eval()
    with torch.no_grad():
        hit = model(data.x, data.edge_index).argmax(1) == data.y
        print(f"test accuracy {hit[split.test].float().mean().item():.3f}")

        theirs = pyg.GATConv(data.num_features, 16, heads=4)
        theirs.load_state_dict(model.attend.state_dict())
        gap = (theirs(data.x, data.edge_index) - model.attend(data.x, data.edge_index)).abs().max().item()
        print(f"the same weights in PyG's GATConv: outputs differ by at most {gap:.1e}")


if __name__ == "__main__":
    main()
