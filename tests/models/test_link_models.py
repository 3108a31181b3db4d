"""Link models that look at the graph: their codes against dense matrices, their options, their refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gnnlib import models
from gnnlib.nn import GCNConv, link
from gnnlib.nn.link import NCN, NCNC
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense
from tests.tolerances import assert_close

N, F_IN = 20, 7


def built(name: str = "ncn", *, features: int = F_IN, **options: Any) -> Any:
    config = models.config_class(name)(hidden_channels=6, **options)
    return models.build(name, "link", features, 0, config).double().eval()


@pytest.mark.parametrize("conv", ["puregcn", "puresum"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3, "residual": True}, {"num_layers": 2, "jk": False}], ids=str
)
def test_codes_without_weights_of_their_own(conv: str, options: dict[str, Any]) -> None:
    model = built(conv=conv, **options)
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), awkward_graph()
    a = dense(edge_index, N)
    scale = (1 + a.sum(1)).rsqrt()
    matrix = a if conv == "puresum" else scale[:, None] * (a + torch.eye(N)) * scale
    h: Tensor = model.encoder.lin(x)
    outputs = []
    for _ in range(options.get("num_layers", 1)):
        h = matrix @ h + (h if options.get("residual") else 0)
        outputs.append(h)
    weights = model.encoder.jk
    expected = h if weights is None else sum(w * out for w, out in zip(weights, outputs, strict=True))
    assert_close(model.encode(x, edge_index), expected)


def test_codes_of_gcn_layers() -> None:
    """A single layer is followed by norm and ReLU; of three the last one is plain."""
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), plain_graph()
    one, three = built(conv="gcn", jk=False), built(conv="gcn", jk=False, num_layers=3)
    assert isinstance(one.encoder.convs[0], GCNConv)
    (conv,), (norm,) = one.encoder.convs, one.encoder.norms
    assert_close(one.encode(x, edge_index), F.relu(norm(conv(x, edge_index))))
    first, second, last = three.encoder.convs
    n1, n2 = three.encoder.norms
    h = F.relu(n2(second(F.relu(n1(first(x, edge_index))), edge_index)))
    assert_close(three.encode(x, edge_index), last(h, edge_index))


def test_learned_codes_are_orthogonal_and_take_the_place_of_features() -> None:
    model = built(features=0, num_embeddings=N, conv="puresum", jk=False)
    weight = model.encoder.embedding.weight
    assert_close(weight.t() @ weight, torch.eye(6, dtype=torch.float64), torch.float32)
    x, edge_index = torch.empty(N, 0, dtype=torch.float64), plain_graph()
    assert_close(model.encode(x, edge_index), dense(edge_index, N) @ weight)
    with pytest.raises(ValueError, match="the graph has 19 nodes but num_embeddings=20"):
        model.encode(x[:19], edge_index[:, :0])


def test_dropout_is_where_its_option_says() -> None:
    """With everything dropped, what follows is a constant."""
    x, edge_index, p = torch.rand(N, F_IN, dtype=torch.float64), plain_graph(), 1 - 1e-9
    for options, expected in (
        ({"input_dropout": p}, lambda m, mix: mix @ m.encoder.lin.bias.expand(N, -1)),
        ({"dropout": p}, lambda m, mix: torch.zeros(N, 6)),
        ({"tail_dropout": p}, lambda m, mix: torch.zeros(N, 6)),
    ):
        model = built(**{"dropout": 0.0, "conv": "puresum", "jk": False, **options}).train()
        assert_close(model.encode(x, edge_index), expected(model, dense(edge_index, N)))
    model = built(predictor_dropout=0.3, predictor_edge_dropout=0.2)
    rates = {m.p for m in model.predictor.modules() if isinstance(m, torch.nn.Dropout)}
    assert (rates, model.predictor.edge_dropout) == ({0.3}, 0.2)


def test_options_reach_the_predictor() -> None:
    plain: Any = built().predictor
    assert type(plain) is NCN
    assert [type(m).__name__ for m in plain.xcnlin] == [
        "Linear", "Dropout", "ReLU", "Linear", "LayerNorm", "Dropout", "ReLU",
    ]  # fmt: skip
    other: Any = built(use_xlin=False, tail_act=False, two_layers=True, norm="none").predictor
    assert other.xlin is None
    assert type(other.xijlin[-1]).__name__ == "Linear"
    assert len(other.lin) == 7
    options = {"weight": 0.4, "prior": 0.75, "scale": 6.5, "offset": 4.4}
    config = {f"completion_{k}": v for k, v in options.items()}
    completed = built("ncnc", **config, depth=2, train_degree=3, test_degree=4, split_size=9).predictor
    assert type(completed) is NCNC
    wanted = {**options, "depth": 2, "train_degree": 3, "test_degree": 4, "split_size": 9}
    assert {k: getattr(completed, k) for k in wanted} == wanted


def test_a_score_needs_the_graph() -> None:
    model, edge_index = built(), plain_graph()
    with pytest.raises(ValueError, match="decode looks at the graph; pass it as the third argument"):
        model.decode(torch.randn(N, 6, dtype=torch.float64), edge_index[:, :3])
    with pytest.raises(ValueError, match=r"NCNConfig: tail_dropout=1\.0; pass a number from 0"):
        built(tail_dropout=1.0)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("adamic-adar", link.adamic_adar),
        ("common-neighbors", link.common_neighbor_count),
        ("jaccard", link.jaccard),
        ("preferential-attachment", link.preferential_attachment),
        ("resource-allocation", link.resource_allocation),
    ],
)
def test_scores_without_parameters(name: str, score: Any) -> None:
    model: Any = models.build(name, "link", 0, 0)
    assert not model.state_dict()
    edge_index, pairs = plain_graph(), torch.combinations(torch.arange(N)).t()
    expected = score(as_csr(edge_index, N), pairs)
    assert expected.unique().numel() > 1
    assert torch.equal(model(torch.empty(N, 0), edge_index, pairs), expected)
