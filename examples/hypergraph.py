"""Hypergraph layers in a network of one's own: who belongs together, from which events people came to.

Davis's eighteen women and fourteen events are a hypergraph: an event joins the women who came. Some
incidences are held out; the network learns codes of women and events from the rest and says who came.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.data import load
from gnnlib.nn import AllSetTransformerConv, UniSAGEConv
from gnnlib.nn.hyper import clique_expansion
from gnnlib.sparse import Hypergraph, spmm


class Net(nn.Module):
    """Two layers, which read the same two sorted CSRs; the code of an event is the mean of its women's."""

    def __init__(self, num_features: int, hidden: int) -> None:
        super().__init__()
        self.first = UniSAGEConv(num_features, hidden)
        self.second = AllSetTransformerConv(hidden, hidden, heads=4, dropout=0.3)

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> tuple[Tensor, Tensor]:
        z = self.second(F.relu(self.first(x, hypergraph)), hypergraph)
        return z, spmm(hypergraph.v2e, z, None, "mean")


def scores(codes: tuple[Tensor, Tensor], pairs: Tensor) -> Tensor:
    women, events = codes
    return (women[pairs[0]] * events[pairs[1]]).sum(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few epochs")
    epochs = 30 if parser.parse_args().quick else 200

    torch.manual_seed(0)
    dataset, split, metric = load("davis")
    data = dataset[0]
    hypergraph = Hypergraph(split.train_edges, data.num_nodes, data.num_hyperedges)
    cliques = clique_expansion(hypergraph)
    print(f"{hypergraph}\nits clique expansion joins {cliques.num_edges // 2} pairs of women")

    model = Net(data.num_features, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad()
        women = torch.randint(data.num_nodes, (split.train_edges.size(1),))
        events = torch.randint(data.num_hyperedges, (split.train_edges.size(1),))
        pairs = torch.cat([split.train_edges, torch.stack([women, events])], dim=1)  # few of these are true
        label = torch.arange(pairs.size(1)) < split.train_edges.size(1)
        codes = model(data.x, hypergraph)
        loss = F.binary_cross_entropy_with_logits(scores(codes, pairs), label.float())
        loss.backward()
        optimizer.step()
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}  loss {float(loss.detach()):.3f}")

    model.eval()
    with torch.no_grad():
        codes = model(data.x, hypergraph)
        pairs = torch.cat([split.test_pos, split.test_neg], dim=1)
        label = torch.arange(pairs.size(1)) < split.test_pos.size(1)
        print(f"test {metric.name} {metric(label.long(), scores(codes, pairs)):.4f}")


if __name__ == "__main__":
    main()
