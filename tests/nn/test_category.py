"""Sets of categories: the interactions against matrices of n x n, and what the method promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from gnnlib.nn.encode import CatEncoder, id_lists
from tests.tolerances import assert_close

COUNT, DIM, OUT = 9, 4, 3
SIZES = [3, 0, 1, 5, 2]


def lists() -> tuple[Tensor, Tensor]:
    """Sets of several sizes, one of them empty, one with an id that comes twice."""
    ids = torch.cat([torch.randperm(COUNT)[:size] for size in SIZES])
    ids[-1] = ids[-2]
    return ids, torch.tensor([0, *SIZES]).cumsum(0)


def encoder(**options: Any) -> Any:
    return CatEncoder(COUNT, DIM, OUT, **options).double()


def parts(ids: Tensor, ptr: Tensor) -> list[Tensor]:
    return [ids[a:b] for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)]


@pytest.mark.parametrize("probe", [0.0, 1.0, 7.5])
def test_interactions_against_the_complete_graph(probe: float) -> None:
    model, (ids, ptr) = encoder(probe=probe, beta=0.3), lists()
    whole, pairs = model.interactions(ids, ptr)
    for v, mine in enumerate(parts(ids, ptr)):
        e, n = model.embedding[mine], len(mine)
        products = torch.zeros(DIM, dtype=torch.float64)
        for i in range(n):
            for j in range(i + 1, n):
                products = products + e[i] * e[j]
        assert_close(pairs[v], products)
        if n == 0:
            assert_close(whole[v], torch.zeros(DIM, dtype=torch.float64))
            continue
        matrix = (torch.ones(n, n, dtype=torch.float64) + probe * torch.eye(n, dtype=torch.float64)) / (
            n + probe
        )
        assert_close(whole[v], (matrix @ e @ model.weight).relu().mean(0))
    code = 0.3 * model.global_mlp(whole) + 0.7 * model.local_mlp(pairs)
    assert_close(model(ids, ptr), code)


def test_a_large_probe_maps_each_id_by_itself() -> None:
    model, (ids, ptr) = encoder(probe=1e9), lists()
    whole, _ = model.interactions(ids, ptr)
    for v, mine in enumerate(parts(ids, ptr)):
        if len(mine):
            alone = (model.embedding[mine] @ model.weight).relu().mean(0)
            torch.testing.assert_close(whole[v], alone, rtol=1e-6, atol=1e-8)


def test_the_order_in_a_set_does_not_matter() -> None:
    model, (ids, ptr) = encoder(), lists()
    shuffled = torch.cat([mine[torch.randperm(len(mine))] for mine in parts(ids, ptr)])
    assert not torch.equal(shuffled, ids)
    assert_close(model(shuffled, ptr), model(ids, ptr))
    order = torch.randperm(len(SIZES))
    moved = [parts(ids, ptr)[v] for v in order.tolist()]
    offsets = torch.tensor([0, *(len(m) for m in moved)]).cumsum(0)
    assert_close(model(torch.cat(moved), offsets), model(ids, ptr)[order])


def test_gradients() -> None:
    model, (ids, ptr) = encoder(num_layers=1), lists()
    names = [name for name, _ in model.named_parameters()]

    def run(*values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (ids, ptr))
        return out

    assert gradcheck(run, [p.detach().clone().requires_grad_() for p in model.parameters()], fast_mode=True)


def test_one_long_set_costs_no_square_of_its_length() -> None:
    n = 200_000  # a matrix of n x n would take 160 GB
    model = CatEncoder(n, 2, OUT)
    out = model(torch.arange(n), torch.tensor([0, n]))
    out.sum().backward()
    assert out.isfinite().all()


def test_dropout_is_that_of_the_rows_and_of_the_maps() -> None:
    ids, ptr = lists()
    quiet, loud = encoder(), encoder(dropout=0.6)
    loud.load_state_dict(quiet.state_dict())
    assert not torch.allclose(loud(ids, ptr), quiet(ids, ptr))
    torch.manual_seed(0)
    many = torch.stack([loud.interactions(ids, ptr)[0] for _ in range(4000)]).mean(0)
    torch.testing.assert_close(many, quiet.interactions(ids, ptr)[0], rtol=0.15, atol=5e-3)
    assert_close(loud.eval()(ids, ptr), quiet(ids, ptr))


def test_reset_and_repr() -> None:
    a, b = encoder(), encoder()
    for model in (a, b):
        torch.manual_seed(3)
        model.reset_parameters()
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert repr(a) == "CatEncoder(9, 3, dim=4, probe=1)"
    assert isinstance(CatEncoder(COUNT, DIM, OUT, hidden_channels=7).global_mlp.lins[0], nn.Module)
    assert CatEncoder(COUNT, DIM, OUT, hidden_channels=7).global_mlp.channel_list == [DIM, 7, OUT]


def test_lists_of_a_matrix() -> None:
    x = torch.tensor([[0.0, 0.5, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 3.0]])
    ids, ptr = id_lists(x)
    assert ids.tolist() == [1, 3, 0, 3]
    assert ptr.tolist() == [0, 2, 2, 4]
    assert id_lists(x)[0] is ids
    x[1, 2] = 1.0
    assert id_lists(x)[0].tolist() == [1, 3, 2, 0, 3]
    with pytest.raises(ValueError, match=r"shape \[4\]; expected \[N, C\]"):
        id_lists(x[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"probe": -1.0}, "probe=-1.0"), ({"beta": 1.5}, "beta=1.5"), ({"dropout": 1.0}, "dropout=1.0")],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CatEncoder(COUNT, DIM, OUT, **options)


def test_bad_lists() -> None:
    model, (ids, ptr) = encoder(), lists()
    with pytest.raises(TypeError, match=r"ids is torch\.float32"):
        model(ids.float(), ptr)
    with pytest.raises(ValueError, match=r"ptr is torch\.int32"):
        model(ids, ptr.int())
    for bad in (ptr + 1, ptr.flip(0), ptr[:-1]):
        with pytest.raises(ValueError, match=r"ptr runs from .* over 11 ids"):
            model(ids, bad)
    with pytest.raises(ValueError, match="ids holds -1 to 9 but num_categories=9; pass 0 to 8"):
        model(torch.tensor([-1, 9]), torch.tensor([0, 2]))
