"""The reader of graphs that message passing cannot tell apart, on tiny files and on the real ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gnnlib.data import load
from gnnlib.data.card import Card, CardFile
from gnnlib.measure import wl_classes

pytestmark = pytest.mark.usefixtures("cache")


def card(root: Path, family: str, *names: str, pickled: bool = False) -> Card:
    """A card of files that the test has written, with the digests of today."""
    files = tuple(
        CardFile(name, hashlib.sha256((root / "toy" / name).read_bytes()).hexdigest(), pickled=pickled)
        for name in names
    )
    return Card(
        "toy", "toy", "graph", "expressivity", "here", "none", "some", "accuracy",
        folder="toy", files=files, options={"family": family},
    )  # fmt: skip


def write_csl(root: Path) -> Card:
    raw = root / "toy" / "raw"
    raw.mkdir(parents=True)
    y = [k % 2 for k in range(10)]
    rings = [
        nx.to_scipy_sparse_array(nx.circulant_graph(7, [1, 2 + c]), format="coo", dtype=float) for c in y
    ]
    matrices = [sp.coo_matrix(ring + sp.eye(7)) for ring in rings]
    (raw / "graphs_Kary_Deterministic_Graphs.pkl").write_bytes(pickle.dumps(matrices))
    torch.save(torch.tensor(y), raw / "y_Kary_Deterministic_Graphs.pt")
    names = [f"raw/{p.name}" for p in sorted(raw.iterdir())]
    return card(root, "csl", *names, pickled=True)


def test_csl_has_constant_features_no_loops_and_stratified_folds(tmp_path: Path) -> None:
    loaded = load(write_csl(tmp_path), tmp_path)
    assert (loaded.num_features, loaded.num_outputs, len(loaded.splits)) == (1, 2, 5)
    for k, g in enumerate(loaded.dataset):
        assert g.x.equal(torch.ones(7, 1))
        wanted = nx.circulant_graph(7, [1, 2 + k % 2])
        assert set(map(tuple, g.edge_index.t().tolist())) == {(a, b) for a in wanted for b in wanted[a]}
        assert int(g.y) == k % 2
    for split in loaded.splits:
        assert [loaded.dataset._data.y[part].tolist().count(1) for part in vars(split).values()] == [3, 1, 1]


class _Runs:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.flag,)


def test_a_changed_pickle_is_not_opened(tmp_path: Path) -> None:
    changed = write_csl(tmp_path)
    flag, path = tmp_path / "ran", tmp_path / "toy" / "raw" / "graphs_Kary_Deterministic_Graphs.pkl"
    path.write_bytes(pickle.dumps(_Runs(flag)))
    with pytest.raises(ValueError, match=r"graphs_Kary_Deterministic_Graphs.pkl is not the file that is"):
        load(changed, tmp_path)
    assert not flag.exists()


def write_exp(root: Path, y: list[int]) -> Card:
    (root / "toy").mkdir()
    n = len(y)
    ring = np.array([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
    arrays = {"x": np.arange(3 * n)[:, None] % 2, "edge_index": np.tile(ring, n), "y": np.array(y)}
    np.savez(root / "toy" / "EXP.npz", num_nodes=np.full(n, 3), num_edges=np.full(n, 6), **arrays)
    return card(root, "exp", "EXP.npz")


def test_exp_folds_hold_whole_pairs(tmp_path: Path) -> None:
    loaded = load(write_exp(tmp_path, [0, 1, 1, 0] * 10), tmp_path)
    assert (len(loaded.dataset), loaded.num_features, loaded.num_outputs, len(loaded.splits)) == (
        40,
        1,
        2,
        10,
    )
    assert loaded.dataset[3].x.tolist() == [[1.0], [0.0], [1.0]]
    tests = torch.cat([split.test for split in loaded.splits])
    assert tests.sort().values.equal(torch.arange(40))
    for split in loaded.splits:
        for part in vars(split).values():
            assert part.view(-1, 2).diff(dim=1).eq(1).all()
            assert part[0::2].remainder(2).eq(0).all()


def test_exp_pairs_must_differ(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'toy': graphs 2i and 2i \+ 1 should have opposite labels"):
        load(write_exp(tmp_path, [0, 1, 1, 1] * 10), tmp_path)


def test_graph6_gives_each_graph_a_class(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    drawn = [nx.cycle_graph(5), nx.path_graph(4), nx.empty_graph(2)]
    (tmp_path / "toy" / "three.g6").write_bytes(b"".join(nx.to_graph6_bytes(g, header=False) for g in drawn))
    loaded = load(card(tmp_path, "graph6", "three.g6"), tmp_path)
    assert (loaded.num_outputs, loaded.split_name) == (3, "fit")
    for number, (g, wanted) in enumerate(zip(loaded.dataset, drawn, strict=True)):
        assert (int(g.y), g.num_nodes) == (number, len(wanted))
        assert set(map(tuple, g.edge_index.t().tolist())) == {(a, b) for a in wanted for b in wanted[a]}
    assert loaded.split.train.equal(loaded.split.test)


def test_an_unknown_family_is_named(tmp_path: Path) -> None:
    written = write_exp(tmp_path, [0, 1] * 20)
    written.options["family"] = "cls"  # type: ignore[index]
    with pytest.raises(ValueError, match="family 'cls' is unknown; did you mean 'csl'"):
        load(written, tmp_path)


@pytest.mark.parametrize(("name", "seen"), [("csl", 1), ("exp", None), ("sr25", 1)])
def test_colour_refinement_sees_no_label(data_root: Path, name: str, seen: int | None) -> None:
    """What makes them hard: every class, or both graphs of a pair, has one colouring."""
    dataset = load(name, data_root).dataset
    data, sizes, edges = dataset._data, dataset.slices["x"].diff(), dataset.slices["edge_index"].diff()
    first = sizes.cumsum(0) - sizes
    edge_index = data.edge_index + torch.repeat_interleave(first, edges)
    classes = wl_classes(edge_index, torch.repeat_interleave(sizes), x=data.x.flatten().long())
    if seen is None:
        assert classes[0::2].equal(classes[1::2])
        assert classes.unique().numel() > 300
        assert data.y[0::2].ne(data.y[1::2]).all()
    else:
        assert classes.unique().numel() == seen
