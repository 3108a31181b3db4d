"""Link prediction: which characters of Les Miserables meet, from the meetings that are left in the book.

A graph auto-encoder: two GCN layers place each character, the dot product of two places scores a pair. The
graph ships with networkx; some of its edges are held back, never seen by the layers, to measure the score on.
These are a few dozen, so the score is the mean over several ways to hold them back.

    python examples/link_prediction.py
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault(
    "THP_MEM_ALLOC_ENABLE", "1"
)  # huge pages for torch's CPU tensors; set before torch starts

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from gnnlib.data import load
from gnnlib.nn import GCNConv


class Encoder(torch.nn.Module):
    """Two GCN layers from features to places."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = GCNConv(in_channels, hidden_channels)
        self.second = GCNConv(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.first(x, edge_index)), 0.5, self.training)
        return self.second(x, edge_index)


def score(z: Tensor, pairs: Tensor) -> Tensor:
    """The dot product of the two ends of each pair, [P]."""
    return (z[pairs[0]] * z[pairs[1]]).sum(dim=1)


def auc(z: Tensor, positive: Tensor, negative: Tensor) -> float:
    """Probability that a held-back edge scores above a pair that never met."""
    scores = torch.cat([score(z, positive), score(z, negative)])
    truth = torch.cat([torch.ones(positive.size(1)), torch.zeros(negative.size(1))])
    return float(roc_auc_score(truth, scores))


def train(number: int, epochs: int) -> float:
    """Train on one split of the edges and return the test score of the epoch that validates best."""
    torch.manual_seed(number)
    loaded = load("les-miserables", split=number)
    data, split = loaded.dataset[0], loaded.split  # this graph holds the training edges only
    positive = split.train_edges  # [2, P], each pair once
    model = Encoder(loaded.num_features, 64, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=5e-3)

    best, test = 0.0, 0.0
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        z = model(data.x, data.edge_index)
        negative = torch.randint(data.num_nodes, positive.shape)
        scores = torch.cat([score(z, positive), score(z, negative)])
        truth = torch.cat([torch.ones(positive.size(1)), torch.zeros(negative.size(1))])
        loss = F.binary_cross_entropy_with_logits(scores, truth)
        loss.backward()
        optimizer.step()

        model.eval()
        with torch.no_grad():
            z = model(data.x, data.edge_index)
        valid = auc(z, split.val_pos, split.val_neg)
        if valid > best:
            best, test = valid, auc(z, split.test_pos, split.test_neg)
    print(f"split {number}  validation AUC {best:.3f}  test AUC {test:.3f}")
    return test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--splits", type=int, default=5, help="how many of the dataset's ten splits")
    parser.add_argument("--quick", action="store_true", help="one split, five epochs, to see that it runs")
    args = parser.parse_args()
    splits, epochs = (1, 5) if args.quick else (args.splits, args.epochs)
    tests = [train(number, epochs) for number in range(splits)]
    print(f"test AUC {sum(tests) / len(tests):.3f}")


if __name__ == "__main__":
    main()
