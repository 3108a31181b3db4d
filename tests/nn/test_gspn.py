"""Graph-induced sum-product networks: against loops over probabilities, and what exact inference promises."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.autograd import gradcheck

from gnnlib.nn import GSPN, GSPNClassifier, GSPNReadout
from gnnlib.nn.gspn.clusters import kmeans
from tests.nn.cases import awkward_graph, plain_graph
from tests.tolerances import assert_close

N, C, L = 20, 3, 3
SIZES = [3, 2]  # one attribute of three values and one of two


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def categories(n: int = N) -> Tensor:
    return torch.cat([F.one_hot(torch.randint(0, size, (n,)), size) for size in SIZES], dim=1).double()


def model_of(kind: str, layers: int = L, **options: Any) -> Any:
    if kind == "categorical":
        return GSPN(sum(SIZES), C, layers, kind, sizes=SIZES, **options).double()
    return GSPN(4, C, layers, "gaussian", **options).double()


def inputs(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Attributes, a graph with isolated nodes, loops and parallel edges, and what is observed."""
    x = categories() if kind == "categorical" else draw(N, 4)
    observed = torch.rand(N, 2 if kind == "categorical" else 4) > 0.4
    return x, awkward_graph(), observed


KINDS = pytest.mark.parametrize("kind", ["categorical", "gaussian"])


# -- the equations, one probability after the other ---------------------------------------------------


def emitted(model: Any, layers: list[int], x: Tensor, observed: Tensor) -> Tensor:
    """p(x_v | i) from the parameters averaged over the layers, a loop over nodes, components, attributes."""
    out = torch.ones(len(x), C, dtype=torch.float64)
    for v, i in itertools.product(range(len(x)), range(C)):
        if hasattr(model.emission, "mean"):
            mean = model.emission.mean[layers, i].mean(0)
            scale = (model.emission.min_scale + F.softplus(model.emission.raw_scale[layers, i])).mean(0)
            for a in range(x.size(1)):
                if observed[v, a]:
                    out[v, i] = (
                        out[v, i] * torch.distributions.Normal(mean[a], scale[a]).log_prob(x[v, a]).exp()
                    )
            continue
        start = 0
        for a, size in enumerate(SIZES):
            block = model.emission.logits[layers, i, start : start + size].softmax(-1).mean(0)
            if observed[v, a]:
                out[v, i] = out[v, i] * block[x[v, start : start + size].argmax()]
            start += size
    return out


def loops(
    model: Any, x: Tensor, edge_index: Tensor, observed: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    near: list[list[int]] = [[v] for v in range(len(x))]
    for u, v in edge_index.t().tolist():
        if u != v:
            near[v].append(u)
    priors, posteriors = [], []
    for layer in range(model.num_layers):
        prior = torch.zeros(len(x), C, dtype=torch.float64)
        for v in range(len(x)):
            if layer == 0:
                prior[v] = model.prior.softmax(0)
                continue
            t = model.transitions[layer - 1].softmax(0)  # columns sum to 1
            prior[v] = torch.stack([t @ posteriors[-1][u] for u in near[v]]).mean(0)
        both = prior * emitted(model, [layer], x, observed)
        priors.append(prior)
        posteriors.append(both / both.sum(1, keepdim=True))
    last = list(range(model.num_layers)) if model.avg_emission else [model.num_layers - 1]
    return priors, posteriors, (priors[-1] * emitted(model, last, x, observed)).sum(1).log()


@KINDS
@pytest.mark.parametrize("avg", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_against_loops(kind: str, avg: bool, masked: bool) -> None:
    model = model_of(kind, avg_emission=avg, **({"min_scale": 0.2} if kind == "gaussian" else {}))
    x, edge_index, observed = inputs(kind)
    seen = observed if masked else torch.ones_like(observed)
    priors, posteriors, likelihood = loops(model, x, edge_index, seen)
    given = (x, edge_index, observed) if masked else (x, edge_index)
    assert_close([layer.prior for layer in model.mixtures(*given)], priors)
    assert_close([layer.posterior for layer in model.mixtures(*given)], posteriors)
    assert_close(model.log_likelihood(*given), likelihood)
    assert_close(model(*given), torch.cat(posteriors, dim=1))
    assert_close(model.embed(*given), model(*given))


@KINDS
def test_gradients(kind: str) -> None:
    model = model_of(kind)
    x, edge_index, observed = inputs(kind)
    names = [name for name, _ in model.named_parameters()]

    def run(*values: Tensor) -> Tensor:
        state = dict(zip(names, values, strict=True))
        hook = {f"m.{k}": v for k, v in state.items()}
        out: Tensor = torch.func.functional_call(_Likelihood(model), hook, (x, edge_index, observed))
        return out

    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert gradcheck(run, values, fast_mode=True)


class _Likelihood(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.m = model

    def forward(self, *args: Tensor) -> Tensor:
        out: Tensor = self.m.log_likelihood(*args)
        return out


# -- what exact inference promises --------------------------------------------------------------------


@KINDS
def test_every_mixture_is_a_distribution(kind: str) -> None:
    model = model_of(kind)
    for layer in model.mixtures(*inputs(kind)):
        for weights in (layer.prior, layer.posterior):
            assert (weights >= 0).all()
            assert_close(weights.sum(1), torch.ones(N, dtype=torch.float64))


def test_one_layer_is_the_mixture_that_em_fits() -> None:
    x = torch.cat([draw(60, 2) - 3, 0.5 * draw(40, 2) + 2])
    em = GaussianMixture(2, covariance_type="diag", random_state=0).fit(x.numpy())
    model: Any = GSPN(2, 2, 1, "gaussian").double()
    scale = torch.from_numpy(em.covariances_).sqrt()
    with torch.no_grad():
        model.prior.copy_(torch.from_numpy(em.weights_).log())
        model.emission.mean[0] = torch.from_numpy(em.means_)
        model.emission.raw_scale[0] = scale.expm1().log()  # the inverse of softplus
    edge_index = torch.randint(0, 100, (2, 300))
    assert_close(model.log_likelihood(x, edge_index), torch.from_numpy(em.score_samples(x.numpy())))
    assert_close(model(x, edge_index), torch.from_numpy(em.predict_proba(x.numpy())))


def test_training_reaches_the_likelihood_of_em() -> None:
    x = torch.cat([draw(60, 1) - 4, 0.5 * draw(40, 1) + 2])
    bound = GaussianMixture(2, covariance_type="diag", random_state=0).fit(x.numpy()).score(x.numpy())
    model = GSPN(1, 2, 1, "gaussian").double()
    nothing = torch.empty(2, 0, dtype=torch.int64)
    model.initialise(x, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -model.log_likelihood(x, nothing).mean()
        loss.backward()
        optimizer.step()
    assert -loss.item() == pytest.approx(bound, abs=1e-2)


@KINDS
def test_missing_attributes_leave_the_prior(kind: str) -> None:
    model = model_of(kind)
    x, edge_index, observed = inputs(kind)
    nothing = torch.zeros_like(observed)
    for layer in model.mixtures(x, edge_index, nothing):
        assert_close(layer.posterior, layer.prior)
    assert_close(model.log_likelihood(x, edge_index, nothing), torch.zeros(N, dtype=torch.float64))
    hidden = torch.where(observed.repeat_interleave(torch.tensor(model.sizes), 1), x, math.nan)
    assert_close(
        model.log_likelihood(hidden, edge_index, observed), model.log_likelihood(x, edge_index, observed)
    )
    assert_close(model(hidden, edge_index, observed), model(x, edge_index, observed))


def test_one_component_is_certain() -> None:
    model = GSPN(4, 1, L, "gaussian").double()
    x, edge_index, _ = inputs("gaussian")
    assert_close(model(x, edge_index), torch.ones(N, L, dtype=torch.float64))


def values() -> list[Tensor]:
    """All rows of categories."""
    eyes = [torch.eye(size, dtype=torch.float64) for size in SIZES]
    return [torch.cat(row) for row in itertools.product(*eyes)]


def test_probabilities_of_categories_sum_to_one() -> None:
    x, edge_index, observed = inputs("categorical")
    single = model_of("categorical", 1)
    total = sum(single.log_likelihood(row.expand(N, -1), edge_index).exp() for row in values())
    assert_close(total, torch.ones(N, dtype=torch.float64))
    deep, asked = model_of("categorical"), torch.zeros(N, 2, dtype=torch.bool)
    asked[::2] = True  # every other node is asked for all it has, given the others
    total = sum(
        deep.query(torch.where(asked[:, :1], row, x), edge_index, asked, observed).exp() for row in values()
    )
    assert_close(total[::2], torch.full((N // 2,), 1.0, dtype=torch.float64))
    assert_close(deep.query(x, edge_index, asked, observed)[1::2], torch.zeros(N // 2, dtype=torch.float64))


def grid() -> tuple[Tensor, float]:
    points = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    return points, float(points[1] - points[0])


def test_integrating_an_attribute_is_leaving_it_out() -> None:
    model = GSPN(2, C, 1, "gaussian").double()
    points, width = grid()
    n = len(points)
    x, nothing = (
        torch.stack([torch.full((n,), 0.3), points], dim=1).double(),
        torch.empty(2, 0, dtype=torch.int64),
    )
    integral = model.log_likelihood(x, nothing).exp().sum() * width
    first = torch.tensor([[True, False]]).expand(n, -1)
    assert_close(integral.log(), model.log_likelihood(x, nothing, first)[0])


def test_a_query_integrates_to_the_query_of_the_rest() -> None:
    """p(a, b | context) over b is p(a | context), through three layers and the neighbours."""
    model = GSPN(2, C, L, "gaussian").double()
    x, edge_index = draw(4, 2), torch.tensor([[0, 1, 2, 3, 1], [1, 0, 1, 2, 2]])
    points, width = grid()
    points, width = points[2400:5601:40], width * 40  # the rule of sums is exact for such smooth curves
    asked, fewer = torch.zeros(4, 2, dtype=torch.bool), torch.zeros(4, 2, dtype=torch.bool)
    asked[1], fewer[1, 0] = True, True
    integral = torch.zeros((), dtype=torch.float64)
    for value in points:
        there = x.clone()
        there[1, 1] = value
        integral = integral + model.query(there, edge_index, asked)[1].exp() * width
    known = ~asked
    assert_close(integral.log(), model.query(x, edge_index, fewer, known)[1])


@KINDS
def test_what_is_asked_is_hidden(kind: str) -> None:
    model = model_of(kind)
    x, edge_index, _ = inputs(kind)
    asked = torch.zeros(N, len(model.sizes), dtype=torch.bool)
    asked[0] = True
    other = x.clone()
    other[0] = x[1]
    rest = torch.arange(N) > 0
    assert_close(model.query(other, edge_index, asked)[rest], model.query(x, edge_index, asked)[rest])
    everything = model.query(x, edge_index, asked)
    log_prior = model.mixtures(x, edge_index, ~asked)[-1].log_prior
    last = list(range(L))
    density = emitted_log(model, last, x)
    assert_close(everything[0], (log_prior[0] + density[0]).logsumexp(0))


def emitted_log(model: Any, layers: list[int], x: Tensor) -> Tensor:
    return emitted(model, layers, x, torch.ones(len(x), len(model.sizes), dtype=torch.bool)).log()


# -- imputation ---------------------------------------------------------------------------------------


@KINDS
def test_imputation_is_the_expectation(kind: str) -> None:
    model = model_of(kind)
    x, edge_index, observed = inputs(kind)
    columns = observed.repeat_interleave(torch.tensor(model.sizes), 1)
    layer = model.mixtures(x, edge_index, observed)[-1]
    if kind == "gaussian":
        mean = model.emission.mean.mean(0)
    else:
        blocks = model.emission.logits.split(SIZES, dim=-1)
        mean = torch.cat([block.softmax(-1) for block in blocks], dim=-1).mean(0)
    weights = layer.prior * emitted(model, list(range(L)), x, observed)
    filled = model.impute(x, edge_index, observed)
    assert_close(filled, torch.where(columns, x, layer.prior @ mean))
    weights = weights / weights.sum(1, keepdim=True)
    better = model.impute(x, edge_index, observed, given="posterior")
    assert_close(better, torch.where(columns, x, weights @ mean))
    nothing = torch.zeros_like(observed)
    assert_close(
        model.impute(x, edge_index, nothing), model.impute(x, edge_index, nothing, given="posterior")
    )


def test_neighbours_tell_what_is_missing() -> None:
    """Two far groups whose members are joined: a trained network puts a hidden node with its group."""
    group = torch.arange(40) % 2
    x = (6.0 * group[:, None] - 3 + 0.3 * draw(40, 1)).double()
    source = torch.randint(0, 40, (400,))
    target = torch.randint(0, 40, (400,))
    same = group[source] == group[target]
    edge_index = torch.stack([source[same], target[same]])
    observed = torch.ones(40, 1, dtype=torch.bool)
    observed[:6] = False
    model = GSPN(1, 2, 2, "gaussian").double()
    model.initialise(x, observed, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(120):
        optimizer.zero_grad()
        (-model.log_likelihood(x, edge_index, observed).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.impute(torch.where(observed, x, math.nan), edge_index, observed)
    assert (found[:6].sign() == x[:6].sign()).all()


# -- logarithms ---------------------------------------------------------------------------------------


def test_many_attributes_do_not_underflow() -> None:
    count = 3000
    model = GSPN(2 * count, C, 2, sizes=[2] * count)
    x = F.one_hot(torch.randint(0, 2, (N, count)), 2).flatten(1).float()
    edge_index = plain_graph()
    out = model.log_likelihood(x, edge_index)
    assert (out < -1000).all()
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    exact = GSPN(2 * count, C, 2, sizes=[2] * count).double()
    exact.load_state_dict(model.state_dict())
    assert_close(out, exact.log_likelihood(x.double(), edge_index).float())


def test_a_component_that_no_column_likes_keeps_its_logarithm() -> None:
    model: Any = GSPN(4, 2, 2, "gaussian")
    with torch.no_grad():
        model.transitions[0].copy_(torch.tensor([[0.0, 0.0], [-300.0, -300.0]]))
    x, edge_index, _ = inputs("gaussian")
    log_prior = model.mixtures(x.float(), edge_index)[1].log_prior
    assert_close(log_prior, torch.tensor([[0.0, -300.0]]).expand(N, -1))
    model.log_likelihood(x.float(), edge_index).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# -- graphs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_classifier_is_a_mixture_of_mixtures(readout: Any) -> None:
    model: Any = GSPNClassifier(5, 2, C, L, sizes=SIZES, graph_mixtures=6, readout=readout).double()
    x, edge_index, observed = inputs("categorical")
    batch = torch.arange(N) // 7
    edge_index = edge_index[:, batch[edge_index[0]] == batch[edge_index[1]]]
    h = model.gspn(x, edge_index, observed).view(N, L, C)
    torch.nn.init.normal_(model.readout.layer_logits)
    mixed = torch.zeros(N, 6, dtype=torch.float64)
    for layer in range(L):
        columns = model.readout.logits[:, layer].softmax(0)
        assert_close(columns.sum(0), torch.ones(C, dtype=torch.float64))
        mixed = mixed + model.readout.layer_logits.softmax(0)[layer] * h[:, layer] @ columns.t()
    assert_close(mixed.sum(1), torch.ones(N, dtype=torch.float64))
    pool = {"mean": lambda g: g.mean(0), "sum": lambda g: g.sum(0), "max": lambda g: g.max(0).values}[readout]
    code = torch.stack([pool(mixed[batch == b]) for b in range(3)])
    assert_close(model.embed(x, edge_index, batch, observed=observed), code)
    assert_close(model(x, edge_index, batch, observed=observed), code @ model.lin.weight.t())
    assert model.lin.bias is None
    assert_close(model.embed(x, edge_index, batch), model.readout(model.gspn(x, edge_index), batch))


# -- k-means ------------------------------------------------------------------------------------------


def test_kmeans_finds_groups_in_spite_of_gaps() -> None:
    centre = torch.tensor([[-5.0, 0.0, 5.0], [5.0, 5.0, -5.0], [0.0, -5.0, 0.0]], dtype=torch.float64)
    group = torch.arange(90) % 3
    x = centre[group] + 0.2 * draw(90, 3)
    observed = torch.rand(90, 3) > 0.2
    found = min(
        (kmeans(x, observed.double(), 3, torch.Generator().manual_seed(seed)) for seed in range(5)),
        key=lambda c: float(torch.cdist(centre, c).min(1).values.sum()),
    )
    place = torch.cdist(centre, found).argmin(1)
    assert sorted(place.tolist()) == [0, 1, 2]
    for g in range(3):
        mine = torch.where(observed[group == g], x[group == g], math.nan)
        assert_close(found[place[g]], mine.nanmean(0))


def test_initialise_puts_means_at_centres() -> None:
    model: Any = GSPN(2, 1, 2, "gaussian").double()
    x = draw(500, 2) * 0.1 + 100
    model.initialise(x, generator=torch.Generator().manual_seed(0))
    noise = model.emission.mean - x.mean(0)
    assert noise.abs().max() < 5
    assert not torch.equal(noise[0], noise[1])
    again: Any = GSPN(2, 1, 2, "gaussian").double()
    again.initialise(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.emission.mean, model.emission.mean)
    with pytest.raises(ValueError, match="initialise places the means of emission='gaussian'"):
        model_of("categorical").initialise(categories())
    with pytest.raises(ValueError, match="kmeans: x has no rows"):
        model.initialise(x[:0])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2, 1), {}, "in_channels=0"),
        ((4, 0, 1), {}, "num_mixtures=0"),
        ((4, 2, 0), {}, "num_layers=0"),
        ((4, 2, 1, "gaussian"), {"min_scale": -1.0}, "min_scale=-1.0"),
        ((4, 2, 1, "poisson"), {}, "emission='poisson' is unknown"),
        ((4, 2, 1, "gaussian"), {"sizes": [4]}, r"sizes=\[4\] with emission='gaussian'"),
        ((4, 2, 1), {"sizes": [4, 0]}, r"sizes=\[4, 0\]"),
        ((4, 2, 1), {"sizes": [2, 1]}, r"add up to 3 but in_channels=4"),
    ],
)
def test_bad_options(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GSPN(*arguments, **options)


def test_bad_inputs() -> None:
    model = model_of("categorical")
    x, edge_index, observed = inputs("categorical")
    with pytest.raises(ValueError, match=r"observed has shape \[20, 5\]; expected .* \[20, 2\]"):
        model(x, edge_index, torch.ones(N, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="given='both' is unknown"):
        model.impute(x, edge_index, observed, given="both")
    with pytest.raises(ValueError, match="readout='median'"):
        GSPNReadout(C, L, 4, "median")  # type: ignore[arg-type]
