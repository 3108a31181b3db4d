"""OGB's datasets through OGB's own classes, splits and evaluators."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnnlib.data import load
from gnnlib.data.card import Card, CardFile
from gnnlib.data.readers.ogb import require_ogb, safe_to_load

pytest.importorskip("ogb.utils", reason="ogb is not installed")

META = {
    "dir_path": "node_format_cora",
    "version": "1",
    "download_name": "cora",
    "url": "",
    "binary": "False",
    "split": "public",
    "num tasks": "1",
    "num classes": "7",
    "eval metric": "acc",
    "task type": "multiclass classification",
    "add_inverse_edge": "False",
    "has_node_attr": "True",
    "has_edge_attr": "False",
    "additional node files": "None",
    "additional edge files": "None",
    "is hetero": "False",
}


def node_format_cora() -> Card:
    raw = ("edge", "num-node-list", "num-edge-list", "node-feat", "node-label")
    paths = [f"raw/{name}.csv.gz" for name in raw]
    paths += [f"split/public/{part}.csv.gz" for part in ("train", "valid", "test")]
    return Card(
        name="cora-in-ogb-form",
        title="Cora in the node format of OGB",
        task="node",
        reader="ogb",
        source="https://github.com/kimiyoung/planetoid",
        licence="MIT",
        split="public",
        metric="ogb",
        folder="ogb/node_format_cora",
        files=tuple(CardFile(path) for path in paths),
        counts={
            "nodes": 2708,
            "edges": 10556,
            "features": 1433,
            "classes": 7,
            "train": 140,
            "val": 500,
            "test": 1000,
        },
        options={"ogb_name": "ogbn-cora", "meta": META, "evaluator": "ogbn-arxiv"},
    )


def test_node_format(data_root: Path) -> None:
    loaded = load(node_format_cora(), data_root)
    cora = load("cora", data_root)
    assert type(loaded.dataset).__name__ == "PygNodePropPredDataset"
    assert (loaded.metric.name, loaded.metric.kind, loaded.num_outputs) == ("acc", "multiclass", 7)
    assert loaded.split_name == "public"
    assert loaded.split.train.equal(cora.split.train)
    assert loaded.split.test.equal(cora.split.test)
    assert loaded.dataset[0].y.view(-1).equal(cora.dataset[0].y)
    labels = loaded.dataset[0].y[loaded.split.test]  # [n, 1], as OGB has them
    logits = torch.nn.functional.one_hot(labels.view(-1), 7).float()
    logits[:250] = logits[:250].roll(1, dims=1)
    assert loaded.metric(labels, logits) == 0.75
    assert loaded.metric(labels.view(-1), logits) == 0.75


@pytest.mark.parametrize(
    ("name", "metric", "kind", "higher"),
    [
        ("ogbg-molbace", "rocauc", "binary", True),
        ("ogbg-molesol", "rmse", "regression", False),
        ("ogbg-molfreesolv", "rmse", "regression", False),
    ],
)
def test_molecules(data_root: Path, name: str, metric: str, kind: str, higher: bool) -> None:
    loaded = load(name, data_root)
    assert (loaded.metric.name, loaded.metric.kind, loaded.metric.higher_is_better) == (metric, kind, higher)
    assert (loaded.num_features, loaded.num_outputs, loaded.split_name) == (9, 1, "scaffold")
    assert len(loaded.feature_sizes) == 9
    assert len(loaded.edge_feature_sizes) == 3
    data = loaded.dataset._data
    assert bool((data.x.max(0).values < torch.tensor(loaded.feature_sizes)).all())
    assert bool((data.edge_attr.max(0).values < torch.tensor(loaded.edge_feature_sizes)).all())
    labels = torch.cat([loaded.dataset[int(i)].y for i in loaded.split.test])
    perfect = loaded.metric(labels, labels.float())
    assert perfect == (1.0 if higher else 0.0)
    assert loaded.metric(labels.view(-1), labels.view(-1).float()) == perfect


def test_binary_scores_of_two_classes(data_root: Path) -> None:
    metric = load("ogbg-molbace", data_root).metric
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert metric(labels, np.stack([-scores, scores], axis=1)) == 0.75
    with pytest.raises(ValueError, match="rocauc of ogbg-molbace: No positively labeled data"):
        metric(np.ones((3, 1)), np.ones((3, 1)))


def test_links(data_root: Path) -> None:
    loaded = load("ogbl-ddi", data_root)
    assert (loaded.metric.name, loaded.metric.kind, loaded.num_features) == ("hits@20", "ranking", 0)
    labels = torch.cat([torch.ones(10), torch.zeros(30)])
    scores = torch.cat([torch.linspace(1, 2, 10), torch.linspace(0, 1.5, 30)])
    bar = scores[10:].sort(descending=True).values[19]
    assert loaded.metric(labels, scores) == pytest.approx(float((scores[:10] > bar).float().mean()))
    train = loaded.split.train_edges
    n = loaded.dataset[0].num_nodes
    edges = set((loaded.dataset[0].edge_index[0] * n + loaded.dataset[0].edge_index[1]).tolist())
    assert set((train[0] * n + train[1]).tolist()) <= edges
    assert not set((loaded.split.val_pos[0] * n + loaded.split.val_pos[1]).tolist()) & edges


def test_a_truncated_file_is_named(data_root: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ogb" / "ogbg_molfreesolv"
    shutil.copytree(data_root / "ogb" / "ogbg_molfreesolv", folder)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    edge = folder / "raw" / "edge.csv.gz"
    edge.write_bytes(edge.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"raw/edge.csv.gz is damaged or cut short"):
        load("ogbg-molfreesolv", tmp_path)


def test_another_copy_of_the_same_content_will_do(data_root: Path, cache: Path, tmp_path: Path) -> None:
    import gzip

    folder = tmp_path / "ogbg_molfreesolv"
    shutil.copytree(data_root / "ogb" / "ogbg_molfreesolv", folder)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    edge = folder / "raw" / "edge.csv.gz"
    edge.write_bytes(gzip.compress(gzip.decompress(edge.read_bytes()), compresslevel=1))
    (folder / "RELEASE_v1.txt").unlink()  # OGB's class would ask on the terminal
    assert len(load("ogbg-molfreesolv", tmp_path).dataset) == 642


def test_damaged_split_files_are_reported(data_root: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ogb" / "ogbl_ddi"
    shutil.copytree(data_root / "ogb" / "ogbl_ddi", folder)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    valid = folder / "split" / "target" / "valid.pt"
    valid.write_bytes(valid.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"dataset 'ogbl-ddi': the files under .*ogbl_ddi could not be read"):
        load("ogbl-ddi", tmp_path)


class _Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (sys.exit, (3,))


def test_only_the_named_classes_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "split.pt"
    torch.save({"edge": np.arange(6).reshape(3, 2), "weight": np.ones(3, np.float32)}, path)
    with pytest.raises(Exception, match=r"(?i)weights"):
        torch.load(path, weights_only=True)  # numpy is allowed inside the block only
    with safe_to_load():
        loaded = torch.load(path, weights_only=True)
    assert loaded["edge"].tolist() == [[0, 1], [2, 3], [4, 5]]
    torch.save(_Trap(), path)
    with safe_to_load(), pytest.raises(Exception, match=r"(?i)weights"):
        torch.load(path, weights_only=True)


def test_what_was_allowed_before_stays_allowed() -> None:
    before = torch.serialization.get_safe_globals()
    assert Data in before
    with safe_to_load():
        assert np.ndarray in torch.serialization.get_safe_globals()
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_arrays_saved_under_numpy_1(tmp_path: Path) -> None:
    """OGB's files were written when numpy's module was called numpy.core."""
    buffer = io.BytesIO()
    torch.save(np.arange(4), buffer)
    path = tmp_path / "old.pt"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(item.filename, content)
    with safe_to_load():
        assert torch.load(path, weights_only=True).tolist() == [0, 1, 2, 3]


def test_a_missing_ogb_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ogb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ogb.nodeproppred", None)
    with pytest.raises(ImportError, match=r"'ogb' is not installed; run: pip install 'gnnlib\[eval\]'"):
        require_ogb("ogb.nodeproppred")
