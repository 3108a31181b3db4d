"""Dropout as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from gnnlib.sparse.dropout import dropout

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout`, about ten times as fast on a CPU: :func:`gnnlib.sparse.dropout.dropout`.

    Args:
        p: probability in [0, 1] of dropping an element.
        inplace: write into the input; that is torch's code.

    Shapes: of any shape -> the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped, while training."""
        return super().forward(input) if self.inplace else dropout(input, self.p, self.training)
