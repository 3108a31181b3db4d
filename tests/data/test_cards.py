"""Every card is complete, and a wrong card says what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import gnnlib.data
from gnnlib.data import find_card, names
from gnnlib.data.card import Card, CardFile, cards
from gnnlib.data.metrics import get_metric
from gnnlib.data.readers import READERS, reader_module

ASKED = """digits karate les-miserables davis cora citeseer pubmed texas wisconsin cornell actor
chameleon-filtered squirrel-filtered minesweeper mutag cora-links citeseer-links ogbg-molbace ogbn-arxiv
ogbl-ddi""".split()  # noqa: SIM905

UNPINNED = ("citynetwork", "lrgb", "ogb")  # readers whose official files are read without unpickling


def test_the_promised_datasets_have_cards() -> None:
    assert set(ASKED) <= set(names())
    assert names() == sorted(names(), key=str.lower)


def test_names_by_task() -> None:
    assert {"cocitation-cora", "zoo", "walmart-trips"} <= set(names("hypergraph"))
    assert names("incidence") == ["davis"]
    assert {"mutag", "ogbg-molbace"} <= set(names("graph"))
    assert not set(names("graph")) & set(names("node"))
    with pytest.raises(ValueError, match="task 'nodes' is unknown; did you mean 'node'"):
        names("nodes")


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_a_card_is_complete(card: Card) -> None:
    assert all([card.title, card.source, card.licence, card.split])
    assert card.reader in READERS
    assert callable(reader_module(card.reader).read)
    assert card.metric == "ogb" or get_metric(card.metric).name == card.metric
    assert (card.reader == "ogb") == (card.metric == "ogb")
    assert card.bundled or card.folder
    for file in card.files:
        assert file.url is None or file.url.startswith("https://")
        assert file.sha256 or card.reader in UNPINNED, "only files that could not be had may lack a digest"
        assert not file.pickled or file.sha256
    if card.reader in ("planetoid", "links"):
        assert sum(file.pickled for file in card.files) == 7
    if card.archive:
        assert card.archive.url.startswith("https://")
        assert set(card.archive.members) == {file.path for file in card.files}


def test_what_can_be_fetched() -> None:
    assert find_card("cora").downloadable == "checked"
    assert find_card("pubmed").downloadable == "checked"
    assert find_card("mutag").downloadable == "checked"
    assert find_card("ogbn-arxiv").downloadable == "unverified"
    assert find_card("digits").downloadable == "no"
    assert find_card("digits").bundled


def test_any_name_of_the_tu_collection() -> None:
    card = find_card("TU:DD")
    assert (card.name, card.task, card.folder) == ("TU:DD", "graph", "TUDataset/DD")
    assert card.archive is not None
    assert card.archive.url == "https://www.chrsmrrs.com/graphkerneldatasets/DD.zip"
    assert find_card("tu:Mutag") is find_card("mutag")
    with pytest.raises(ValueError, match="a name of the TU collection is expected"):
        find_card("TU:../etc")


def test_tu_spelling_comes_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "TUDataset" / "Fancy-Set").mkdir(parents=True)
    assert find_card("tu:fancy-set", tmp_path).name == "TU:Fancy-Set"


def test_unknown_and_unsupported_names() -> None:
    with pytest.raises(ValueError, match="dataset 'citseer' is unknown; did you mean 'citeseer'"):
        gnnlib.data.load("citseer")
    with pytest.raises(ValueError, match="dataset 'ogbg-molbase' is unknown; did you mean 'ogbg-molbace'"):
        gnnlib.data.load("ogbg-molbase")
    with pytest.raises(NotImplementedError, match="'ogbn-mag' cannot be loaded: it is heterogeneous"):
        gnnlib.data.load("ogbn-mag")
    with pytest.raises(TypeError, match="int came"):
        gnnlib.data.load(7)  # type: ignore[arg-type]


GOOD = """
name = "mine"
title = "Mine"
task = "node"
reader = "npz"
source = "here"
licence = "MIT"
split = "one"
metric = "accuracy"
folder = "mine"
[counts]
nodes = 3
[[files]]
folder = "raw"
url = "https://example.org/data/"
[files.sha256]
"mine.npz" = "{digest}"
"""


def test_a_card_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.format(digest="a" * 64))
    card = Card.read(path)
    assert card.files == (CardFile("raw/mine.npz", "a" * 64, url="https://example.org/data/mine.npz"),)
    assert card.counts == {"nodes": 3}
    assert find_card(card) is card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metric =", "metrik ="), "'metrik' is unknown; did you mean 'metric'"),
        (('task = "node"', 'task = "knot"'), "task 'knot' is unknown"),
        (("name =", "= 3"), "not a valid toml file"),
        (('name = "mine"', ""), "missing or of the wrong kind"),
        (("mine.npz", "../../passwd"), "leaves the dataset's folder"),
        (("a" * 64, "abc"), "is not 64 hex digits"),
        (('folder = "raw"', 'pickled = ["mine.npz"]\nfolder = "raw"'), None),
    ],
)
def test_a_wrong_card_says_so(tmp_path: Path, change: tuple[str, str], message: str | None) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.format(digest="a" * 64).replace(*change))
    if message is None:
        assert Card.read(path).files[0].pickled
        return
    with pytest.raises(ValueError, match=message):
        Card.read(path)


def test_a_pickle_needs_a_checksum() -> None:
    card = find_card("cora")
    unpinned = tuple(dataclasses.replace(file, sha256=None) for file in card.files)
    with pytest.raises(ValueError, match=r"'raw/ind.cora.x' is a pickle, so it needs a sha256"):
        dataclasses.replace(card, files=unpinned)
