"""Link models that look at the graph when they score a pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import Encoder, norm_of
from gnnlib.models.entry import Entry
from gnnlib.models.heads import LinkModel
from gnnlib.nn import GCNConv, Linear
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.link import NCN, NCNC
from gnnlib.sparse import as_csr, spmm
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.features import feature_linear


@dataclass(frozen=True, kw_only=True)
class NCNConfig(ModelConfig):
    """Neural common neighbour on codes from a few layers of message passing.

    Args:
        hidden_channels: width of the codes and of the predictor.
        num_layers: layers of message passing.
        dropout: on the linear map of the features, or between the layers of ``gcn``.
        act: between the layers of ``gcn``; the predictor has ReLU.
        norm: in the predictor and between the layers of ``gcn``; auto: layer normalisation.
        decoder: not looked at; the predictor is the decoder.
        conv: ``puregcn``, :math:`D^{-1/2}(A + I)D^{-1/2}x` with D one more than the degrees, and ``puresum``,
            :math:`Ax`, spread a linear map of the features without weights of their own; ``gcn`` is GCN's
            layer.
        residual: add the input of each layer to its output where the widths agree.
        jk: the codes are a learned combination of the outputs of all layers.
        tail_dropout: probability in [0, 1) of dropping a feature of the last layer's output, not in ``gcn``.
        num_embeddings: number of nodes that have a learned code in place of features; 0: nodes have features.
        predictor_dropout: probability in [0, 1) of dropping a feature inside the predictor.
        predictor_edge_dropout: probability in [0, 1) of dropping an entry of the graph where neighbours are
            looked up.
        use_xlin: add a learned map of the codes to those that are summed.
        tail_act: the maps of the sum and of the product end in their activation.
        two_layers: a second hidden layer in the last map.
    """

    hidden_channels: int = 256
    num_layers: int = 1
    dropout: float = 0.05
    conv: Literal["puregcn", "puresum", "gcn"] = "puregcn"
    residual: bool = False
    jk: bool = True
    tail_dropout: float = 0.0
    num_embeddings: int = 0
    predictor_dropout: float = 0.05
    predictor_edge_dropout: float = 0.0
    use_xlin: bool = True
    tail_act: bool = True
    two_layers: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tail_dropout", "predictor_dropout", "predictor_edge_dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "a number from 0 to below 1")
        self._require("num_embeddings", self.num_embeddings >= 0, "0 or more")

    def norm_for(self, task: Task) -> Literal["none", "batch", "layer"]:
        """Layer normalisation where nothing else is asked for."""
        return "layer" if self.norm == "auto" else self.norm

    @property
    def needs_features(self) -> bool:
        """Whether nodes must have features."""
        return self.num_embeddings == 0

    def predictor(self) -> NCN:
        """The layer that scores pairs."""
        return NCN(self.hidden_channels, self.hidden_channels, **self._predictor_options())

    def _predictor_options(self) -> dict[str, Any]:
        kind = self.norm_for("link")
        return {
            "dropout": self.predictor_dropout,
            "edge_dropout": self.predictor_edge_dropout,
            "norm": None if kind == "none" else partial(norm_of, kind),
            "use_xlin": self.use_xlin,
            "tail_act": self.tail_act,
            "two_layers": self.two_layers,
        }


@dataclass(frozen=True, kw_only=True)
class NCNCConfig(NCNConfig):
    """Neural common neighbour with completion.

    Args:
        completion_weight: weight of completed neighbours, at least 0.
        completion_prior: prior probability in (0, 1] that an edge is missing; None: learned from the pair.
        completion_scale, completion_offset: of the score whose sigmoid is the probability of an edge.
        depth: steps of completion, at least 0.
        train_degree, test_degree: how many neighbours of one end are completed at most; None: all.
        split_size: pairs that are scored at once for their probability; only memory depends on it.
    """

    completion_weight: float = 1.0
    completion_prior: float | None = 0.5
    completion_scale: float = 5.0
    completion_offset: float = 3.0
    depth: int = 1
    train_degree: int | None = None
    test_degree: int | None = None
    split_size: int = 1 << 17

    def predictor(self) -> NCN:
        """The layer that scores pairs."""
        return NCNC(
            self.hidden_channels,
            self.hidden_channels,
            weight=self.completion_weight,
            prior=self.completion_prior,
            scale=self.completion_scale,
            offset=self.completion_offset,
            depth=self.depth,
            train_degree=self.train_degree,
            test_degree=self.test_degree,
            split_size=self.split_size,
            **self._predictor_options(),
        )


class NCNEncoder(Encoder):
    """Message passing of the NCN code: features or learned codes, layers, and their combination.

    Args:
        config: the options.
        task: link.
        in_channels: width of x; 0 with ``num_embeddings``.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes -> ``[N, hidden]``.
    """

    def __init__(self, config: NCNConfig, task: Task, in_channels: int) -> None:
        super().__init__(config, task)
        width, layers = config.hidden_channels, config.num_layers
        self.conv, self.residual, self.num_layers = config.conv, config.residual, layers
        self.tail_dropout = config.tail_dropout
        self.embedding = nn.Embedding(config.num_embeddings, width) if config.num_embeddings else None
        first = width if self.embedding is not None else in_channels
        self.lin: Linear | None = None
        if config.conv != "gcn" and self.embedding is None:
            self.lin = Linear(in_channels, width)
        plain = 0 if config.conv != "gcn" else layers
        self.convs = nn.ModuleList(GCNConv(first if i == 0 else width, width) for i in range(plain))
        kind = config.norm_for(task)
        # a single layer is followed by norm and activation; of several the last one is plain
        self.norms = nn.ModuleList(norm_of(kind, width) for _ in range(max(plain - 1, min(plain, 1))))
        self.jk = nn.Parameter(torch.empty(layers)) if config.jk else None
        self.out_channels = width
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters; learned codes of nodes are orthogonal to each other."""
        super().reset_parameters()
        if self.embedding is not None:
            nn.init.orthogonal_(self.embedding.weight)
        if self.jk is not None:
            nn.init.normal_(self.jk)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, hidden]``."""
        adj, x = as_csr(edge_index, x.size(0)), self._input(x)
        outputs = []
        for i in range(self.num_layers):
            out = self._layer(i, x, adj)
            x = out + x if self.residual and out.shape == x.shape else out
            outputs.append(x)
        if self.jk is None:
            return x
        return cast(Tensor, sum(w * out for w, out in zip(self.jk, outputs, strict=True)))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The codes."""
        return cast(Tensor, self(x, edge_index))

    def _input(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            known = self.embedding.num_embeddings
            if x.size(0) != known:
                raise ValueError(
                    f"NCN: the graph has {x.size(0)} nodes but num_embeddings={known}; pass the number of "
                    "its nodes"
                )
            return dropout(self.embedding.weight, self.dropout, self.training)
        x = self._drop_input(x)
        if self.lin is None:
            return x
        x = feature_linear(x, self.lin.weight, self.lin.bias)
        return dropout(x, self.dropout, self.training)

    def _layer(self, i: int, x: Tensor, adj: CSR) -> Tensor:
        if self.conv == "gcn":
            out: Tensor = self.convs[i](x, adj)
            return self._between(out, self.norms[i]) if i < len(self.norms) else out
        if self.conv == "puresum":
            out = spmm(adj, x)
        else:
            scale = (1 + adj.degree).to(x.dtype).rsqrt()
            out = spmm(adj, x, row_scale=scale, col_scale=scale) + scale.square().unsqueeze(1) * x
        return dropout(out, self.tail_dropout, self.training) if i == self.num_layers - 1 else out


class NCNModel(LinkModel):
    """Codes of the nodes, and :class:`gnnlib.nn.link.NCN` or :class:`~gnnlib.nn.link.NCNC` on them.

    Args:
        config: the options.
        in_channels: width of x.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` (the edges that may be seen), pairs ``[2, P]`` -> scores
        ``[P]``, logits of a link.
    """

    uses_graph = True

    def __init__(self, config: NCNConfig, in_channels: int) -> None:
        super().__init__(config, NCNEncoder(config, "link", in_channels))
        self.mlp = None  # the predictor stands in its place
        self.predictor = config.predictor()
        if isinstance(self.predictor, NCNC):  # some scores serve all pairs
            self.pairs_at_once = None

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from codes z ``[N, hidden]`` and the graph."""
        if graph is None:
            raise ValueError("NCN: decode looks at the graph; pass it as the third argument")
        return cast(Tensor, self.predictor(z, graph, pairs))


def _ncn(config: NCNConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    return NCNModel(config, in_channels)


LINK = frozenset({"link"})

MODELS: dict[str, Entry] = {
    "ncn": Entry(NCNConfig, tasks=LINK, whole=_ncn),
    "ncnc": Entry(NCNCConfig, tasks=LINK, whole=_ncn),
}
