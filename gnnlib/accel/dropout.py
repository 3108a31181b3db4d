"""torch's dropout on the core's counter, for those who ask for it: it draws other elements than torch's."""

from __future__ import annotations

from torch import Tensor, nn

from gnnlib.accel.gate import outside
from gnnlib.accel.view import View
from gnnlib.nn.dropout import Dropout
from gnnlib.sparse.dropout import dropout


class Drop(View, theirs=nn.Dropout, ours=Dropout):
    """Dropout."""

    def why_stock(self) -> str | None:
        """Only what goes on around the call, and writing in place."""
        return outside() or ("inplace=True" if self._layer.inplace else None)

    def run(self, input: Tensor) -> Tensor:
        """Ours, by the layer's options."""
        return dropout(input, self._layer.p, self._layer.training)
