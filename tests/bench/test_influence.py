"""The case of influence: both contenders are right, and the check notices one that is not."""

from __future__ import annotations

from typing import Any

import pytest

from gnnlib.bench import influence
from gnnlib.bench.graphs import in_cache

SMALL = in_cache(0.002)


@pytest.mark.parametrize("name", ["ours", "pyg"])
def test_contenders_give_the_jacobian(name: str) -> None:
    problem = influence.jacobian_influence(SMALL, layers=3, hidden=8, nodes=4)
    assert problem.verify(name) is None
    assert problem.contenders[name]()().shape == (4,)


def test_a_wrong_curve_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = influence._ours

    def wrong(*given: Any) -> Any:
        return right(*given) * 1.01

    monkeypatch.setitem(influence._CONTENDERS, "ours", wrong)
    problem = influence.jacobian_influence(SMALL, layers=2, hidden=8, nodes=4)
    fault = problem.verify("ours")
    assert str(fault).startswith("influence by hop is")
