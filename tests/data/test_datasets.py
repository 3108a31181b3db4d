"""Every dataset of the data root, with the counts of its card and facts that no card holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch_geometric.utils import is_undirected

from gnnlib.data import LinkSplit, find_card, load, names
from gnnlib.data.places import whereabouts
from tests.data.test_places import snapshot

ON_DISK = """
20news-w100 actor bitcoin-otc-trust
blogcatalog chameleon-filtered chameleon-filtered-directed citeseer citeseer-links
citeseer-links-ncn cora-links-ncn
coauthorship-cora coauthorship-cora-few cocitation-citeseer cocitation-citeseer-few cocitation-cora
cocitation-cora-few contact-primary-school cora cora-links cornell csl csphd diseasome enzymes
enzymes-attributes exp gnutella08 grqc house-committees huangpu imdb-binary minesweeper mutag nci1 ntu2012
ogbg-molbace ogbg-molesol ogbg-molfreesolv ogbl-ddi peptides-func ppi-homo-sapiens proteins ptc-mr
sr16 sr25 sr26 sr28 sr29 sr35 sr36 sr40 squirrel-filtered squirrel-filtered-directed
texas walmart-trips wiki-documents wikipedia-pos wisconsin
zoo""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def root(data_root: Path) -> Iterator[Path]:
    """The data root, which must be as it was when these tests are done."""
    before = snapshot(data_root)
    yield data_root
    assert snapshot(data_root) == before


@pytest.mark.parametrize("name", ON_DISK)
def test_it_loads_with_the_counts_of_its_card(root: Path, name: str) -> None:
    loaded = load(name, root)  # a count that differs from the card is an error
    assert loaded.card.counts
    assert loaded.name == name
    assert loaded.folder is not None
    assert loaded.folder.is_relative_to(root)
    assert torch.isfinite(loaded.dataset._data.x if loaded.num_features else torch.zeros(1)).all()
    data = loaded.dataset[0]
    assert data.edge_index.dtype == torch.int64
    if loaded.task in ("link", "recommendation"):
        assert isinstance(loaded.split, LinkSplit)
    else:
        parts = [loaded.split.train, loaded.split.val, loaded.split.test]
        together = torch.cat(parts)
        apart = loaded.split_name != "fit"  # all parts are the same graphs, which are to be told apart
        assert together.unique().numel() == together.numel() // (1 if apart else 3), "the parts overlap"
        count = len(loaded.dataset) if loaded.task == "graph" else data.num_nodes
        assert int(together.max()) < count


def test_everything_on_disk_is_tested(root: Path) -> None:
    found = {name for name in names() if Path(whereabouts(find_card(name), root)).is_absolute()}
    assert found == set(ON_DISK)


def test_the_public_split_comes_before_the_masks(root: Path) -> None:
    loaded = load("cora", root)
    assert loaded.split_name == "public"
    assert list(loaded.split_names) == ["public", *(f"geom-gcn-{k}" for k in range(10))]
    assert loaded.split.train.equal(torch.arange(140))
    assert loaded.split.test.equal(torch.arange(1708, 2708))
    second = load("cora", root, split=2)
    assert second.split_name == "geom-gcn-1"
    sizes = [part.numel() for part in (second.split.train, second.split.val, second.split.test)]
    assert sizes == [1192, 796, 497]


def test_cora_without_the_masks(root: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "Planetoid" / "Cora" / "raw", tmp_path / "Cora" / "raw")
    assert list(load("cora", tmp_path).split_names) == ["public"]
    with pytest.raises(
        FileNotFoundError, match=r"geom-gcn/raw/cora_split_0.6_0.2_0.npz is missing \(and 9 more\)"
    ):
        load("cora", tmp_path, split=1)


def test_a_changed_planetoid_file_is_not_unpickled(root: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "Planetoid" / "Cora" / "raw", tmp_path / "Cora" / "raw")
    flag = tmp_path / "ran"
    graph = tmp_path / "Cora" / "raw" / "ind.cora.graph"
    graph.chmod(0o644)
    graph.write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(flag).encode() + b"\ntRtR.")
    with pytest.raises(
        ValueError, match=r"ind.cora.graph is not the file that is expected.*so it was not opened"
    ):
        load("cora", tmp_path)
    assert not flag.exists()


def test_a_root_that_lacks_a_planetoid_file(root: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "Planetoid" / "Cora" / "raw", tmp_path / "Cora" / "raw")
    (tmp_path / "Cora" / "raw" / "ind.cora.tx").unlink()
    with pytest.raises(FileNotFoundError, match=r"Cora/raw/ind.cora.tx is missing; the rest of the dataset"):
        load("cora", tmp_path)


@pytest.mark.parametrize("name", ["cora-links", "citeseer-links"])
def test_links_hold_out_edges(root: Path, name: str) -> None:
    loaded = load(name, root, split=4)
    data, links = loaded.dataset[0], loaded.split
    whole = load(name.removesuffix("-links"), root).dataset[0]
    n = data.num_nodes
    key = {side: set((pairs[0] * n + pairs[1]).tolist()) for side, pairs in vars(links).items()}
    edges = set((whole.edge_index[0] * n + whole.edge_index[1]).tolist())
    message = set((data.edge_index[0] * n + data.edge_index[1]).tolist())
    assert key["train_edges"] | key["val_pos"] | key["test_pos"] <= edges
    assert not (key["val_neg"] | key["test_neg"]) & edges
    assert not (key["val_pos"] | key["test_pos"]) & message
    assert is_undirected(data.edge_index)
    assert data.x.equal(whole.x)


def test_heterophilous_sets(root: Path) -> None:
    mines = load("minesweeper", root)
    assert (mines.metric.name, mines.metric.kind, mines.num_outputs) == ("roc_auc", "binary", 1)
    assert is_undirected(load("squirrel-filtered", root).dataset[0].edge_index)
    assert not is_undirected(load("squirrel-filtered-directed", root).dataset[0].edge_index)


def test_mutag_folds(root: Path) -> None:
    loaded = load("MUTAG", root)
    tests = torch.cat([split.test for split in loaded.splits])
    assert tests.sort().values.equal(torch.arange(188))
    labels = loaded.dataset._data.y
    assert all(0.6 < float(labels[split.test].float().mean()) < 0.75 for split in loaded.splits)
