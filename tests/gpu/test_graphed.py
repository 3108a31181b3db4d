"""A training step recorded as a CUDA graph: the losses of the step itself, or a sentence why not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.nn import GCNConv, SAGEConv
from gnnlib.train import GraphedStep
from tests.sparse.graphs import MIXED


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GCNConv(5, 8), SAGEConv(8, 3, aggr="max")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x, edge_index)), edge_index)
        return out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"GraphedStep: there is no CUDA device .*; call the step itself"):
        GraphedStep(lambda: torch.zeros(()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
class TestOnDevice:
    def losses(self, graphed: bool, steps: int = 8) -> list[Tensor]:
        torch.manual_seed(0)
        edge_index = MIXED.edge_index.cuda()
        model, x = Two().cuda(), torch.randn(37, 5).cuda()
        y = torch.arange(37).remainder(3).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, capturable=True)

        def step() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(x, edge_index), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        if not graphed:
            return [step().clone() for _ in range(3 + steps)][3:]
        recorded = GraphedStep(step, warmup=3)
        return [recorded().clone() for _ in range(steps)]

    def test_the_losses_are_those_of_the_step(self) -> None:
        assert torch.equal(torch.stack(self.losses(True)), torch.stack(self.losses(False)))

    def test_what_waits_for_the_device_is_refused(self) -> None:
        x = torch.ones(3, device="cuda")
        with pytest.raises(RuntimeError, match=r"GraphedStep: the step cannot be recorded .*\.item\(\)"):
            GraphedStep(lambda: x.sum() * x.sum().item())

    def test_warmup(self) -> None:
        with pytest.raises(ValueError, match="warmup=0"):
            GraphedStep(lambda: torch.zeros(()), warmup=0)
