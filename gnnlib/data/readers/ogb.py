"""OGB's datasets through OGB's own classes, splits and evaluators."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnlib.data.loaded import Parts
from gnnlib.data.metrics import Kind, Metric, binary_score, checked, predicted_class
from gnnlib.data.readers import Source
from gnnlib.data.splits import LinkSplit, Split
from gnnlib.data.stage import quiet, staged

_PACKAGES = {"ogbn": "ogb.nodeproppred", "ogbg": "ogb.graphproppred", "ogbl": "ogb.linkproppred"}
_CLASSES = {
    "ogbn": "PygNodePropPredDataset",
    "ogbg": "PygGraphPropPredDataset",
    "ogbl": "PygLinkPropPredDataset",
}
_HIGHER_IS_BETTER = {"rmse": False}


def read(source: Source) -> Parts:
    """Open a dataset in OGB's format.

    Options: ``ogb_name``; ``meta``, OGB's description, for a dataset that is not one of OGB's own, and
    then ``evaluator``, the name of the OGB dataset whose evaluator judges it.
    """
    options = source.card.options
    name, family = str(options["ogb_name"]), str(options["ogb_name"])[:4]
    package = require_ogb(_PACKAGES[family])
    inner = str(options.get("meta", {}).get("dir_path", name.replace("-", "_")))

    def build(root: Path) -> tuple[Any, Mapping[str, Any]]:
        with safe_to_load():
            # OGB's classes print, and would ask on the terminal before they replace files
            dataset = getattr(package, _CLASSES[family])(name, str(root), **_meta(options, root))
            split = dataset.get_edge_split() if family == "ogbl" else dataset.get_idx_split()
        return dataset, split

    version = str(_described(package, name, options)["version"])
    dataset, split = staged(
        source.card, source.files, source.digests, inner, build, empty_files=(f"RELEASE_v{version}.txt",)
    )
    metric = evaluator_metric(package, str(options.get("evaluator", name)), family, dataset)
    sizes = _feature_sizes(name)
    parts: Split | LinkSplit = _link_split(split) if family == "ogbl" else _index_split(split)
    official = str(_described(package, name, options)["split"])
    return Parts(dataset, [parts], [official], metric, _num_outputs(dataset, metric), *sizes)


def require_ogb(package: str) -> ModuleType:
    """Import a package of ogb, without the request that ogb makes for its newest version.

    Raises:
        ImportError: when ogb is not installed, with the command that installs it.
    """
    if "ogb" in sys.modules:
        return importlib.import_module(package)
    missing = object()
    checker = sys.modules.get("outdated", missing)
    sys.modules["outdated"] = None  # type: ignore[assignment]  # ogb then skips its version check
    try:
        with quiet():
            return importlib.import_module(package)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ogb":
            raise ImportError("'ogb' is not installed; run: pip install 'gnnlib[eval]'") from error
        raise
    finally:
        if checker is missing:
            del sys.modules["outdated"]
        else:
            sys.modules["outdated"] = checker  # type: ignore[assignment]


@contextlib.contextmanager
def safe_to_load() -> Iterator[None]:
    """Allow ``torch.load(weights_only=True)`` the classes that OGB's files hold, for this block only.

    Processed files hold PyG's ``Data`` and its parts; split files hold numpy arrays, under the module
    names of numpy 1 or 2.
    """
    from torch_geometric.data.data import Data, DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    reconstruct = np.empty(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("i2", "i4", "i8", "f4", "f8", "?")]
    wanted: list[Any] = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, np.ndarray, np.dtype, *dtypes]
    wanted += [(reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    # at its end the block takes back what it allowed: not what was allowed before it, as PyG does for Data
    before = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([one for one in wanted if one not in before]):
        yield


def _described(package: ModuleType, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """OGB's description of a dataset, from its own table or from the card."""
    if "meta" in options:
        return dict(options["meta"])
    import csv

    with Path(str(package.__file__)).with_name("master.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    column = header.index(name)
    return {row[0]: row[column] for row in rows}


def _meta(options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    if "meta" not in options:
        return {}
    return {"meta_dict": {**options["meta"], "dir_path": str(root / options["meta"]["dir_path"])}}


def _index_split(split: Mapping[str, Tensor]) -> Split:
    return Split(*(torch.as_tensor(split[part]).long() for part in ("train", "valid", "test")))


def _link_split(split: Mapping[str, Mapping[str, Tensor]]) -> LinkSplit:
    pairs = {
        (part, key): torch.as_tensor(value).long().t().contiguous()
        for part in ("train", "valid", "test")
        for key, value in split[part].items()
        if key in ("edge", "edge_neg")
    }
    return LinkSplit(
        pairs["train", "edge"],
        pairs["valid", "edge"],
        pairs["valid", "edge_neg"],
        pairs["test", "edge"],
        pairs["test", "edge_neg"],
    )


def evaluator_metric(package: ModuleType, name: str, family: str, dataset: Any) -> Metric:
    """Wrap OGB's evaluator of a dataset as a :class:`Metric`."""
    evaluator = package.Evaluator(name)
    metric = str(evaluator.eval_metric)
    kind = _kind(family, str(dataset.task_type), getattr(dataset, "num_tasks", 1))

    def evaluate(true: np.ndarray, score: np.ndarray) -> float:
        try:
            found = evaluator.eval(_asked(kind, true, score))
        except RuntimeError as error:  # OGB's way to say that its metric is undefined or its input wrong
            raise ValueError(str(error)) from error
        (value,) = found.values()
        return float(np.mean(value))

    return Metric(metric, _HIGHER_IS_BETTER.get(metric, True), kind, checked(f"{metric} of {name}", evaluate))


def _asked(kind: Kind, true: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """The arguments that OGB's evaluators take: two columns of labels, or scores by kind of pair."""
    if kind == "ranking":
        true, score = true.reshape(-1), score.reshape(-1)
        return {"y_pred_pos": score[true == 1], "y_pred_neg": score[true == 0]}
    if kind == "multiclass":
        return {"y_true": true.reshape(-1, 1), "y_pred": predicted_class(score).reshape(-1, 1)}
    if true.ndim == 1 or true.shape[1] == 1:
        score = binary_score(score) if kind == "binary" else score
        return {"y_true": true.reshape(-1, 1), "y_pred": score.reshape(-1, 1)}
    return {"y_true": true, "y_pred": score}


def _kind(family: str, task_type: str, num_tasks: int) -> Kind:
    if family == "ogbl":
        return "ranking"
    if task_type == "regression":
        return "regression"
    if task_type == "multiclass classification":
        return "multiclass"
    return "binary" if num_tasks == 1 else "multilabel"


def _num_outputs(dataset: Any, metric: Metric) -> int:
    if metric.kind == "ranking":
        return 0
    return int(dataset.num_classes if metric.kind == "multiclass" else dataset.num_tasks)


def _feature_sizes(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many values each integer feature of OGB's molecules takes: atoms, then bonds."""
    if not name.startswith("ogbg-mol"):
        return (), ()
    from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims

    return tuple(get_atom_feature_dims()), tuple(get_bond_feature_dims())
