"""Multi-layer perceptron."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from torch import Tensor, nn

from gnnlib.nn.act import Activation, activation
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.norm import normalization
from gnnlib.sparse.dropout import dropout


class MLP(nn.Module):
    r"""Linear maps with normalisation, activation and dropout between them.

    .. math:: x^{(l+1)} = \mathrm{dropout}\big(\sigma(\mathrm{norm}(W^{(l)} x^{(l)} + b^{(l)}))\big)

    Built from a list of widths, ``MLP([16, 32, 10])``, or from ``in_channels``, ``hidden_channels``,
    ``out_channels`` and ``num_layers``.

    Args:
        channel_list: widths of the input, of each hidden layer and of the output; an int stands for
            ``in_channels``.
        in_channels: width of the input (-1: from the first call); overrides ``channel_list``.
        hidden_channels: width of all hidden layers.
        out_channels: width of the output.
        num_layers: number of linear maps, at least 1.
        dropout: probability in [0, 1], or one for each layer.
        act: name of a torch.nn activation, a function, or None.
        act_first: activation before normalisation.
        act_kwargs: arguments of the activation.
        norm: ``"batch_norm"``, another name that PyG knows, a module, or None.
        norm_kwargs: arguments of the normalisation.
        plain_last: no normalisation, activation and dropout after the last map.
        bias: learn biases, or one choice for each layer.

    Shapes: x ``[N, in]`` -> ``[N, out]``.
    Cost: one dense product a layer.
    Raises: ValueError when widths, dropout or bias do not fit the number of layers.
    """

    def __init__(
        self,
        channel_list: Sequence[int] | int | None = None,
        *,
        in_channels: int | None = None,
        hidden_channels: int | None = None,
        out_channels: int | None = None,
        num_layers: int | None = None,
        dropout: float | Sequence[float] = 0.0,
        act: Activation = "relu",
        act_first: bool = False,
        act_kwargs: dict[str, Any] | None = None,
        norm: str | Callable[..., Any] | None = "batch_norm",
        norm_kwargs: dict[str, Any] | None = None,
        plain_last: bool = True,
        bias: bool | Sequence[bool] = True,
    ) -> None:
        super().__init__()
        if isinstance(channel_list, int):
            in_channels = channel_list
        if in_channels is not None:
            channel_list = _widths(in_channels, hidden_channels, out_channels, num_layers)
        if channel_list is None or isinstance(channel_list, int) or len(channel_list) < 2:
            raise ValueError(
                f"MLP: channel_list={channel_list!r}; pass at least two widths, [in, ..., out], or "
                "in_channels, hidden_channels, out_channels and num_layers"
            )
        self.channel_list = list(channel_list)
        self.act = activation(act, **(act_kwargs or {}))
        self.act_first = act_first
        self.plain_last = plain_last
        self.dropout = _per_layer("dropout", dropout, self.num_layers)
        if plain_last and not isinstance(dropout, Sequence):
            self.dropout[-1] = 0.0
        biases = _per_layer("bias", bias, self.num_layers)
        widths = zip(self.channel_list[:-1], self.channel_list[1:], biases, strict=True)
        self.lins = nn.ModuleList(Linear(i, o, bias=b) for i, o, b in widths)
        normed = self.channel_list[1:-1] if plain_last else self.channel_list[1:]
        self.norms = nn.ModuleList(
            nn.Identity() if norm is None else normalization(norm, c, **(norm_kwargs or {})) for c in normed
        )
        self.supports_norm_batch = (
            len(self.norms) > 0 and "batch" in inspect.signature(self.norms[0].forward).parameters
        )
        self.reset_parameters()

    @property
    def in_channels(self) -> int:
        """Width of the input."""
        return self.channel_list[0]

    @property
    def out_channels(self) -> int:
        """Width of the output."""
        return self.channel_list[-1]

    @property
    def num_layers(self) -> int:
        """Number of linear maps."""
        return len(self.channel_list) - 1

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (*self.lins, *self.norms):
            if hasattr(part, "reset_parameters"):
                reset(part)

    @overload
    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None, return_emb: None = None
    ) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None, *, return_emb: bool
    ) -> tuple[Tensor, Tensor | None]: ...

    def forward(
        self,
        x: Tensor,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        return_emb: bool | None = None,
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Map x ``[N, in]`` -> ``[N, out]``.

        Args:
            x: features.
            batch: graph of each row, ``[N]``, for normalisations that work within a graph.
            batch_size: number of graphs in ``batch``.
            return_emb: return the input of the last map, ``[N, hidden]``, as well.
        """
        emb: Tensor | None = None
        for i, norm in enumerate(self.norms):
            x = self.lins[i](x)
            if self.act is not None and self.act_first:
                x = self.act(x)
            x = norm(x, batch, batch_size) if self.supports_norm_batch else norm(x)
            if self.act is not None and not self.act_first:
                x = self.act(x)
            x = dropout(x, self.dropout[i], self.training)
            emb = x
        if self.plain_last:
            x = dropout(self.lins[-1](x), self.dropout[-1], self.training)
        if return_emb is None:
            return x
        return x, emb if return_emb else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.channel_list)[1:-1]})"


def _widths(
    in_channels: int, hidden_channels: int | None, out_channels: int | None, num_layers: int | None
) -> list[int]:
    if num_layers is None or num_layers < 1:
        raise ValueError(f"MLP: num_layers={num_layers}; pass the number of linear maps, at least 1")
    if out_channels is None:
        raise ValueError("MLP: in_channels came without out_channels; pass both")
    if num_layers == 1:
        return [in_channels, out_channels]
    if hidden_channels is None:
        raise ValueError(f"MLP: num_layers={num_layers} needs hidden_channels")
    return [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]


def _per_layer(name: str, value: Any, num_layers: int) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) else [value] * num_layers
    if len(values) != num_layers:
        raise ValueError(f"MLP: {name} has {len(values)} entries but there are {num_layers} layers")
    return values
