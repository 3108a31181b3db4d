"""Bad input to each op: who, what came, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gnnlib.sparse import as_csr, scatter, sddmm, segment_reduce, segment_softmax, spmm

EDGES = torch.tensor([[0, 1, 4], [2, 2, 0]])
ADJ = as_csr(EDGES, (5, 3))
X, Y = torch.rand(5, 4), torch.rand(3, 4)
HEADS = torch.rand(5, 2, 4)
META = torch.empty(5, 4, device="meta")
OFFSETS = torch.tensor([0, 1, 5])
INDEX = torch.tensor([0, 2, 1, 1, 0])

BAD: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "spmm rows": (
        lambda: spmm(ADJ, Y),
        ValueError,
        "spmm: x has 3 rows but adj has 5 columns; pass the features of the source nodes",
    ),
    "spmm rows of an edge_index": (
        lambda: spmm(EDGES, Y),
        ValueError,
        "as_csr: .* names source node 4 but .* 3",
    ),
    "spmm rows of a matrix": (
        lambda: spmm(torch.eye(4).to_sparse_csr(), X),
        ValueError,
        "4 columns .* 5 sources",
    ),
    "spmm integer": (lambda: spmm(ADJ, X.long()), TypeError, r"spmm: x is torch\.int64; .* x\.float\(\)"),
    "spmm [C]": (lambda: spmm(ADJ, X[:, 0]), ValueError, r"spmm: x has shape \[5\]; expected \[C, F\]"),
    "spmm [C, 1, 1, F]": (lambda: spmm(ADJ, X[:, None, None]), ValueError, r"shape \[5, 1, 1, 4\]; expected"),
    "spmm reduce": (
        lambda: spmm(ADJ, X, reduce="add"),  # type: ignore[arg-type]
        ValueError,
        "spmm: reduce='add' is unknown; choose one of sum, mean, max, min",
    ),
    "spmm weights": (
        lambda: spmm(ADJ, X, torch.rand(4)),
        ValueError,
        "4 edge values came but the graph has 3 edges",
    ),
    "spmm weight of heads": (
        lambda: spmm(ADJ, HEADS, torch.rand(3)),
        ValueError,
        r"weight has one value an edge but x has 2 heads; pass \[E, 2\]",
    ),
    "spmm heads": (
        lambda: spmm(ADJ, HEADS, torch.rand(3, 3)),
        ValueError,
        r"shape \[3, 3\]; expected \[E\], or \[E, 2\]",
    ),
    "spmm weight [E, 1, 1]": (
        lambda: spmm(ADJ, X, torch.rand(3, 1, 1)),
        ValueError,
        r"weight has shape \[3, 1, 1\]",
    ),
    "spmm row_scale": (
        lambda: spmm(ADJ, X, row_scale=X[:, 0]),
        ValueError,
        r"row_scale has shape \[5\]; expected \[3\]",
    ),
    "spmm col_scale": (
        lambda: spmm(ADJ, X, col_scale=Y[:, 0]),
        ValueError,
        r"col_scale has shape \[3\]; expected \[5\]",
    ),
    "spmm device": (
        lambda: spmm(ADJ, META),
        ValueError,
        "spmm: x is on meta but adj is on cpu; move one with",
    ),
    "spmm device of weights": (
        lambda: spmm(ADJ, X, META[:3, 0]),
        ValueError,
        "weight is on meta but x is on cpu",
    ),
    "sddmm rows": (lambda: sddmm(ADJ, X, X), ValueError, r"3 rows \(targets\) .* 5 targets"),
    "sddmm op": (
        lambda: sddmm(ADJ, Y, X, "mul"),  # type: ignore[arg-type]
        ValueError,
        "sddmm: op='mul' is unknown; choose one of dot, add, sub",
    ),
    "sddmm integer": (
        lambda: sddmm(ADJ, Y, X.long()),
        TypeError,
        r"x_src is torch\.int64; .* x_src\.float\(\)",
    ),
    "sddmm widths": (
        lambda: sddmm(ADJ, Y, X[:, :2]),
        ValueError,
        r"x_dst has shape \[3, 4\] and x_src \[5, 2\]",
    ),
    "sddmm dot of scalars": (
        lambda: sddmm(ADJ, Y[:, 0], X[:, 0]),
        ValueError,
        r"dot takes \[N, D\] or \[N, H, D\]",
    ),
    "sddmm device": (lambda: sddmm(ADJ, Y, META), ValueError, "x_src is on meta but adj is on cpu"),
    "segment_reduce end": (
        lambda: segment_reduce(X, torch.tensor([0, 6])),
        ValueError,
        "segment_reduce: indptr runs from 0 to 6 over 5 rows of src; it must start at 0",
    ),
    "segment_reduce short": (
        lambda: segment_reduce(X, torch.tensor([0, 3])),
        ValueError,
        "from 0 to 3 over 5 rows",
    ),
    "segment_reduce start": (lambda: segment_reduce(X, torch.tensor([1, 5])), ValueError, "from 1 to 5"),
    "segment_reduce falling": (
        lambda: segment_reduce(X, torch.tensor([0, 4, 2, 5])),
        ValueError,
        "never decrease",
    ),
    "segment_reduce int32": (
        lambda: segment_reduce(X, OFFSETS.int()),
        ValueError,
        r"indptr is torch\.int32 .* int64",
    ),
    "segment_reduce [1, R + 1]": (
        lambda: segment_reduce(X, OFFSETS[None]),
        ValueError,
        r"of shape \[1, 3\]; expected",
    ),
    "segment_reduce no offsets": (lambda: segment_reduce(X, OFFSETS[:0]), ValueError, r"of shape \[0\]"),
    "segment_reduce integer": (lambda: segment_reduce(X.long(), OFFSETS), TypeError, r"src is torch\.int64"),
    "segment_reduce reduce": (
        lambda: segment_reduce(X, OFFSETS, "prod"),
        ValueError,
        "segment_reduce: reduce='prod' is unknown; choose one of sum, mean, max, min",
    ),
    "segment_reduce device": (
        lambda: segment_reduce(META, OFFSETS),
        ValueError,
        "on meta does not go with indptr on cpu",
    ),
    "segment_softmax end": (
        lambda: segment_softmax(Y[:, 0], OFFSETS),
        ValueError,
        "segment_softmax: .* 0 to 5 over 3",
    ),
    "segment_softmax integer": (lambda: segment_softmax(X.int(), OFFSETS), TypeError, r"src is torch\.int32"),
    "scatter length": (
        lambda: scatter(X, INDEX[:3]),
        ValueError,
        r"scatter: index has shape \[3\] but src has 5 rows along dim 0",
    ),
    "scatter [E, F]": (
        lambda: scatter(X, INDEX[:, None].expand(5, 4)),
        ValueError,
        r"index has shape \[5, 4\]",
    ),
    "scatter float": (
        lambda: scatter(X, INDEX.float()),
        TypeError,
        r"index is torch\.float32; pass integers",
    ),
    "scatter bool": (lambda: scatter(X, INDEX > 0), TypeError, r"index is torch\.bool"),
    "scatter integer": (lambda: scatter(X.long(), INDEX), TypeError, r"src is torch\.int64"),
    "scatter large": (
        lambda: scatter(X, INDEX, 2),
        ValueError,
        "names group 2 but there are 2 groups, 0 to 1",
    ),
    "scatter negative": (lambda: scatter(X, INDEX - 1), ValueError, "names group -1"),
    "scatter dim": (
        lambda: scatter(X, INDEX, dim=2),
        ValueError,
        r"dim=2 does not exist in src of shape \[5, 4\]",
    ),
    "scatter reduce": (
        lambda: scatter(X, INDEX, reduce="mul"),
        ValueError,
        "reduce='mul' is unknown; choose one of",
    ),
    "scatter device": (lambda: scatter(META, INDEX), ValueError, "src is on meta but index is on cpu"),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_message(call: Callable[[], object], kind: type[Exception], message: str, backend: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_what_is_allowed_at_the_edge() -> None:
    """Forms that look odd and are right."""
    assert spmm(ADJ, X, torch.rand(3, 1)).shape == (3, 4)
    assert spmm(ADJ, X[:, None], torch.rand(3)).shape == (3, 1, 4)
    assert spmm(EDGES, X).shape == (5, 4)  # an edge_index runs among one set of nodes
    assert spmm(torch.eye(5)[:3].to_sparse_csr(), X).shape == (3, 4)  # a matrix has its own number of rows
    assert sddmm(EDGES, torch.rand(3, 4), X).shape == (3,)
    assert scatter(X, INDEX[:4], dim=1).shape == (5, 3)
    assert scatter(X, INDEX[:4], dim=-1, dim_size=7).shape == (5, 7)
    assert scatter(X[:0], INDEX[:0]).shape == (0, 4)
    assert scatter(X[:0], INDEX[:0], 3).tolist() == [[0] * 4] * 3
    assert segment_reduce(X[:0], torch.tensor([0])).shape == (0, 4)
    assert segment_softmax(X[:0], torch.tensor([0, 0])).shape == (0, 4)
