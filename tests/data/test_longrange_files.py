"""The long-range graph benchmark and City-Networks from tiny files in the layout of PyG's classes."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from gnnlib.cli.data import data
from gnnlib.data import Card, fetch, find_card, load
from gnnlib.data.readers import reader_module
from gnnlib.data.statistics import statistics

pytestmark = pytest.mark.usefixtures("cache")

PARTS = {"train": 3, "val": 2, "test": 1}
PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # three nodes in a row
CITIES = ["paris", "shanghai", "la", "london"]
BENCHMARK = ["peptides-struct", "pascalvoc-sp", "coco-sp", "pcqm-contact"]


def tiny(name: str) -> Card:
    """The card without the counts that only the published files have."""
    return dataclasses.replace(find_card(name), counts={})


def molecule(k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.full((3, 9), k), torch.full((4, 3), k % 2), PATH


def put(root: Path, name: str, graphs: dict[str, list]) -> None:
    card = find_card(name)
    for file in card.files:
        path = root / card.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = graphs[path.stem]
        with path.open("wb") as out:
            pickle.dump(content, out) if path.suffix == ".pickle" else torch.save(content, out)


def several(make: object) -> dict[str, list]:
    numbers = iter(range(10))
    return {part: [make(next(numbers)) for _ in range(n)] for part, n in PARTS.items()}  # type: ignore[operator]


def test_peptides_struct(tmp_path: Path) -> None:
    put(tmp_path, "peptides-struct", several(lambda k: (*molecule(k), torch.full((1, 11), k / 2))))
    loaded = load(tiny("peptides-struct"), tmp_path)
    assert (loaded.metric.name, loaded.metric.kind, loaded.num_outputs) == ("mae", "regression", 11)
    assert [part.tolist() for part in vars(loaded.split).values()] == [[0, 1, 2], [3, 4], [5]]
    assert loaded.feature_sizes == (6,) * 9
    assert loaded.edge_feature_sizes == (2,) * 3
    assert loaded.dataset[4].y.tolist() == [[2.0] * 11]
    zeros = np.zeros((6, 11))
    assert loaded.metric(loaded.dataset._data.y, zeros) == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 12)


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_superpixels(tmp_path: Path, kind: type) -> None:
    def image(k: int) -> tuple:
        return torch.rand(3, 14).double(), torch.rand(4, 2), PATH, kind([0, 13, 90])

    put(tmp_path, "coco-sp", several(image))
    loaded = load(tiny("coco-sp"), tmp_path)
    assert (loaded.task, loaded.metric.name, loaded.num_outputs) == ("node", "f1", 81)
    assert loaded.dataset[0].y.tolist() == [0, 12, 80]  # the 81 categories are numbered with gaps
    assert loaded.dataset[0].x.dtype == loaded.dataset[0].edge_attr.dtype == torch.float32
    found = statistics(loaded)
    assert found["label_entropy"] == pytest.approx(np.log2(3), abs=1e-3)
    assert (found["graphs"], found["nodes"], found["largest_diameter"]) == (6, 3, 2)
    put(tmp_path / "voc", "pascalvoc-sp", several(lambda k: (*image(k)[:3], kind([0, 13, 20]))))
    assert load(tiny("pascalvoc-sp"), tmp_path / "voc").dataset[5].y.tolist() == [0, 13, 20]
    put(tmp_path / "bad", "coco-sp", several(lambda k: (*image(k)[:3], kind([0, 12, 90]))))
    with pytest.raises(ValueError, match="a label is none of the 81 categories of COCO"):
        load(tiny("coco-sp"), tmp_path / "bad")


def test_a_pickle_of_superpixels_calls_nothing(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    put(tmp_path, "pascalvoc-sp", {part: [] for part in PARTS})
    path = tmp_path / "LRGBDataset" / "pascalvoc-sp" / "raw" / "train.pickle"
    path.write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(flag).encode() + b"\ntRtR.")
    with pytest.raises(ValueError, match=r"it names pathlib\.Path.*which no array needs; not opened"):
        load(tiny("pascalvoc-sp"), tmp_path)
    assert not flag.exists()


def test_pcqm_contact(tmp_path: Path) -> None:
    pairs, label = torch.tensor([[0, 2, 0], [2, 0, 1]]), torch.tensor([1, 1, 0])
    put(tmp_path, "pcqm-contact", several(lambda k: (*molecule(k), pairs, label)))
    loaded = load(tiny("pcqm-contact"), tmp_path)
    assert (loaded.task, loaded.metric.name, loaded.num_outputs) == ("link", "filtered_mrr", 0)
    assert loaded.dataset[1].edge_label_index.tolist() == pairs.tolist()
    assert statistics(loaded)["label_entropy"] == pytest.approx(0.918, abs=1e-3)


def put_city(root: Path, city: str, *, masks: bool) -> None:
    n = 6
    ring = torch.stack([torch.arange(n), (torch.arange(n) + 1) % n])
    parts = {"train": torch.tensor([4]), "valid": torch.tensor([1]), "test": torch.tensor([0, 2, 3, 5])}
    content = {
        "node_features_augmented": torch.rand(n, 37) * 100 + 5,
        "edge_indices": torch.cat([ring, ring.flip(0)], dim=1),
        "10-chunk_16-hop_node_labels": torch.arange(n),
    }
    for part, numbers in parts.items():
        mask = torch.zeros(n, dtype=torch.bool)
        mask[numbers] = True
        content[f"{part}_mask"] = mask if masks else numbers
    path = root / "CityNetwork" / city / "raw" / f"{city}.tar.gz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, value in content.items():
            buffer = io.BytesIO()
            torch.save(value, buffer)
            entry = tarfile.TarInfo(f"{city}/{name}.pt")
            entry.size = buffer.tell()
            archive.addfile(entry, io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("city", CITIES)
def test_a_city(tmp_path: Path, city: str) -> None:
    put_city(tmp_path, city, masks=city == "la")
    loaded = load(tiny(city), tmp_path)
    assert [part.tolist() for part in vars(loaded.split).values()] == [[4], [1], [0, 2, 3, 5]]
    graph = loaded.dataset[0]
    assert torch.allclose(graph.x.mean(0), torch.zeros(37), atol=1e-5)
    assert torch.allclose(graph.x.std(0), torch.ones(37), atol=1e-5)
    assert graph.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert statistics(loaded)["largest_diameter"] == 3
    raw = tmp_path / "CityNetwork" / city / "raw"
    assert [path.name for path in raw.iterdir()] == [f"{city}.tar.gz"]  # nothing is written beside it
    with pytest.raises(ValueError, match="nodes should be"):
        load(city, tmp_path)


def test_a_city_that_is_no_archive(tmp_path: Path) -> None:
    put_city(tmp_path, "paris", masks=False)
    path = tmp_path / "CityNetwork" / "paris" / "raw" / "paris.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"paris.tar.gz is damaged or cut short"):
        load(tiny("paris"), tmp_path)
    path.write_bytes(gzip.compress(b"no archive" * 100))
    with pytest.raises(ValueError, match=r"dataset 'paris'.*paris.tar.gz is no readable archive"):
        load(tiny("paris"), tmp_path)


@pytest.mark.parametrize("name", [*CITIES, *BENCHMARK])
def test_what_is_not_at_hand(name: str) -> None:
    card = find_card(name)
    assert card.downloadable == "unverified"
    assert reader_module(card.reader)
    with pytest.raises(
        FileNotFoundError, match=rf"no checksum is known.*gnnlib data {name} --fetch --unverified"
    ):
        load(name)
    with pytest.raises(FileNotFoundError, match="no checksum is known"):
        fetch(name)


def test_the_command_measures_what_is_at_hand(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(data)
    shown = CliRunner().invoke(app, ["peptides-struct", "--json"], catch_exceptions=False)
    assert "measured" not in json.loads(shown.output)
    put(tmp_path, "peptides-struct", several(lambda k: (*molecule(k), torch.full((1, 11), k / 2))))
    wrong = CliRunner().invoke(app, ["peptides-struct", "--json", "--root", str(tmp_path)])
    assert isinstance(wrong.exception, ValueError)  # the tiny files are not those of the card
    shown = CliRunner().invoke(app, ["ring-transfer-8"], catch_exceptions=False, env={"COLUMNS": "120"})
    assert "hop diameter 4" in shown.output
    assert "label entropy 2.322 bit over 5 classes" in " ".join(shown.output.split())
