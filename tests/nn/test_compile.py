"""``torch.compile(fullgraph=True)``: no graph break, the eager result, one retrace for other sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn import MLP, GATConv, GCNConv, GINConv, SAGEConv
from gnnlib.sparse import as_csr
from tests.nn.cases import pna
from tests.tolerances import assert_close


class Two(nn.Module):
    def __init__(self, make: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = make(7, 6), make(6, 3)

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x, edge_index)), edge_index)
        return out


MODELS = {
    "GCN": lambda i, o: GCNConv(i, o),
    "SAGE": lambda i, o: SAGEConv(i, o),
    "GIN": lambda i, o: GINConv(MLP([i, o, o], norm=None)),
    "GAT": lambda i, o: GATConv(i, o, heads=2, concat=False),
    "PNA": pna,
}


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "edge_index") for name in MODELS), ("GCN", "CSR"), ("GAT", "CSR")]
)
def test_two_layers_are_one_graph(name: str, form: str) -> None:
    torch._dynamo.reset()
    traces = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal traces
        traces += 1
        from torch._dynamo.backends.debugging import aot_eager

        return aot_eager(graph, inputs)

    model = Two(MODELS[name])
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for n, e in ((12, 40), (17, 55), (23, 31)):
        edge_index = torch.randint(0, n, (2, e))
        graph = edge_index if form == "edge_index" else as_csr(edge_index, n)
        results = []
        for run in (model, compiled):
            x = torch.randn(n, 7, generator=torch.Generator().manual_seed(n), requires_grad=True)
            out = run(x, graph)
            grads = torch.autograd.grad(out.square().sum(), [x, *model.parameters()])
            results.append([out, *grads])
        assert_close(results[1], results[0])
    assert traces <= 2  # the second size makes sizes symbolic; the third is no news
