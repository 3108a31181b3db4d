"""What a trained run does, by `gnnlib.measure`: a table and a picture for a run directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from gnnlib.measure import (
    InfluenceByHop,
    effective_resistance,
    generalisation_gap,
    influence,
    sensitivity,
    smoothing,
)
from gnnlib.measure.picture import draw
from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import balls
from gnnlib.sparse.symmetric import symmetrized
from gnnlib.train import files
from gnnlib.train.restore import Restored, restore
from gnnlib.train.tasks import NodeTask

__all__ = ["influence_of", "measure"]

_TARGETS, _SOURCES = 20, 25  # pairs of the squashing panel: so many nodes, and so many that reach each
_RESISTORS = 200_000  # nodes up to which the graph is factorised


def measure(
    run_dir: str | Path,
    *,
    num_samples: int | None = 500,
    max_hops: int | None = None,
    root: str | None = None,
) -> dict[str, Any]:
    """Measure the best run of a directory, and write ``measure.json`` and ``measure.png`` into it.

    Every run has its generalisation gap. A node model on one graph also has its influence by hop and range,
    the smoothing of its layers, and for some pairs of nodes sensitivity beside effective resistance.

    Args:
        run_dir: a directory that ``gnnlib train`` wrote.
        num_samples: nodes whose influence is measured; None: all.
        max_hops: the last hop of the curve; None: as far as the model looks.
        root: the data root; None: the one used in training.

    Shapes: none.
    Returns: the content of the json file.
    Raises: what :func:`restore` raises; OSError when the disk refuses.
    """
    folder = Path(run_dir)
    found = restore(folder, root=root)
    history = files.read_json(found.place / files.HISTORY)
    gap = generalisation_gap(history)
    content: dict[str, Any] = {
        "dataset": found.loaded.name,
        "model": found.config.model,
        "run": found.place.name,
        "gap": dataclasses.asdict(gap) | {"at_best": gap.at_best, "last": gap.last} if gap.epoch else None,
    }
    if isinstance(found.task, NodeTask):
        content |= _of_nodes(found, num_samples, max_hops)
    files.write_json(folder / "measure.json", content)
    title = f"{found.config.model} on {found.loaded.name}, {found.place.name}"
    draw(content, folder / "measure.png", title)
    return content


def influence_of(found: Restored, num_samples: int | None, max_hops: int | None) -> dict[str, Any]:
    """The influence by hop of a node model on one graph, as plain numbers.

    Shapes: ``curve`` and ``curve_error`` hold a number a hop.
    """
    return _told(_influence(found, _graph(found), num_samples, max_hops))


def _graph(found: Restored) -> Data:
    task = found.task
    assert isinstance(task, NodeTask)
    graph = Data(x=task.x, edge_index=task.edge_index)
    if task.edge_weight is not None:
        graph.edge_weight = task.edge_weight
    return graph


def _influence(found: Restored, graph: Data, num_samples: int | None, max_hops: int | None) -> InfluenceByHop:
    if num_samples == 1:
        raise ValueError("measure: one node to measure says nothing of the spread; pass 2 or more, or all")
    args = () if graph.edge_weight is None else ("edge_weight",)
    return influence(found.model, graph, max_hops, num_samples, edge_args=args)


def _told(far: InfluenceByHop) -> dict[str, Any]:
    return {
        "curve": far.curve.tolist(),
        "curve_error": far.curve_error.tolist(),
        "relative_to": far.base,
        "R": far.R,
        "R_interval": list(far.interval()),
        "nodes": int(far.nodes.numel()),
        "reach": far.reach,
        "hops": far.hops,
        "apart": far.apart_share,
        "method": far.method,
    }


def _of_nodes(found: Restored, num_samples: int | None, max_hops: int | None) -> dict[str, Any]:
    graph = _graph(found)
    far = _influence(found, graph, num_samples, max_hops)
    content: dict[str, Any] = {"influence": _told(far)}
    try:
        content["smoothing"] = [dataclasses.asdict(row) for row in smoothing(found.model, graph)]
    except ValueError:  # a model without convolutions has no layers to compare
        content["smoothing"] = None
    if far.reach and graph.x.size(0) <= _RESISTORS:
        content["squashing"] = _squashing(found, graph, far)
    return content


def _squashing(found: Restored, graph: Any, far: InfluenceByHop) -> dict[str, Any]:
    num_nodes, targets = graph.x.size(0), far.nodes[:_TARGETS]
    adj = as_csr(graph.edge_index, (num_nodes, num_nodes))
    near = balls(symmetrized(adj).adj if far.hops == "undirected" else adj, targets, far.reach)
    draw_pairs = torch.Generator().manual_seed(0)
    pairs = []
    for k, v in enumerate(targets.tolist()):
        around = near.node[int(near.ptr[k]) + 1 : int(near.ptr[k + 1])]
        chosen = around[torch.randperm(around.numel(), generator=draw_pairs)[:_SOURCES]]
        pairs.append(torch.stack([chosen, torch.full_like(chosen, v)]))
    both = torch.cat(pairs, dim=1)
    symmetric = torch.cat([graph.edge_index, graph.edge_index.flip(0)], dim=1)
    resistance = effective_resistance(torch.unique(symmetric, dim=1), both, num_nodes)
    felt = sensitivity(found.model, graph, both.to(graph.x.device)).cpu()
    keep = felt > 0
    return {"resistance": resistance[keep].tolist(), "sensitivity": felt[keep].tolist()}
