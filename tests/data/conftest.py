"""A small dataset of its own, so that finding, checking and fetching files need no real data."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gnnlib.data.card import Card, CardFile

NUM_NODES = 12


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty cache, and no $GNNLIB_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GNNLIB_CACHE", str(folder))
    monkeypatch.delenv("GNNLIB_DATA", raising=False)
    return folder


@pytest.fixture
def ring_file(tmp_path: Path) -> Path:
    """A ring of 12 nodes in the npz form, outside any data root."""
    nodes = np.arange(NUM_NODES)
    masks = np.stack([np.roll(nodes, k) for k in range(2)])  # two splits
    path = tmp_path / "source" / "ring.npz"
    path.parent.mkdir()
    np.savez(
        path,
        node_features=np.eye(NUM_NODES, dtype=np.float32),
        node_labels=nodes % 3,
        edges=np.stack([nodes, (nodes + 1) % NUM_NODES], axis=1),
        train_masks=masks < 6,
        val_masks=(masks >= 6) & (masks < 9),
        test_masks=masks >= 9,
    )
    return path


@pytest.fixture
def ring(ring_file: Path) -> Card:
    """The card of the ring."""
    digest = hashlib.sha256(ring_file.read_bytes()).hexdigest()
    return Card(
        name="ring",
        title="A ring",
        task="node",
        reader="npz",
        source="made by the tests",
        licence="MIT",
        split="two masks",
        metric="accuracy",
        folder="rings",
        files=(CardFile("raw/ring.npz", digest),),
        counts={"nodes": NUM_NODES, "edges": 2 * NUM_NODES, "features": NUM_NODES, "classes": 3, "splits": 2},
    )


@pytest.fixture
def put(ring_file: Path) -> Callable[[Path], Path]:
    """Put the ring's file where a root should have it."""

    def put(root: Path) -> Path:
        path = root / "rings" / "raw" / "ring.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ring_file.read_bytes())
        return path

    return put


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of ``tmp_path / "source"`` on this machine."""
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":  # a redirection away from https
                self.send_response(302)
                self.send_header("Location", "http://example.org/ring.npz")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
