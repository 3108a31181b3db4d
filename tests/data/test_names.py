"""Choosing a name."""

from __future__ import annotations

import pytest

from gnnlib.names import choose


@pytest.mark.parametrize("asked", ["ptc-mr", "PTC_MR", " Ptc-Mr "])
def test_case_and_dashes_do_not_matter(asked: str) -> None:
    assert choose("dataset", asked, ["mutag", "ptc-mr"]) == "ptc-mr"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"dataset 'croa' is unknown; did you mean 'cora'\? known: actor, cora"
    ):
        choose("dataset", "croa", ["cora", "actor"])


def test_nothing_near_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"model 'xyzzy' is unknown; known: gat, gcn$"):
        choose("model", "xyzzy", ["gcn", "gat"])
    with pytest.raises(ValueError, match="known: none"):
        choose("model", "xyzzy", [])


def test_long_lists_are_cut() -> None:
    with pytest.raises(ValueError, match="and 60 more"):
        choose("option", "?", [f"option{k}" for k in range(100)])


def test_a_name_is_a_string() -> None:
    with pytest.raises(TypeError, match="dataset: a name is expected, but int came"):
        choose("dataset", 3, ["cora"])  # type: ignore[arg-type]
