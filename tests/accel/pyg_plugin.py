"""A pytest plugin that accelerates every PyG layer as soon as it is built, to run PyG's own tests that way.

    GNNLIB_PYG_TESTS=/path/to/pytorch_geometric/test pytest tests/accel/test_pyg_suite.py

TorchScript is out of scope: tests of ``torch.jit`` are left out by name, and PyG runs most of its others only
when asked for all.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest
from torch import nn

import gnnlib
from gnnlib.accel.swap import WHY, Accelerated
from gnnlib.accel.table import VIEWS

_seen: Counter[str] = Counter()
_alive: list[nn.Module] = []


def _after_construction(cls: Any) -> None:
    own = cls.__init__

    @functools.wraps(own)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        if type(self) is cls:  # the outermost constructor is done
            gnnlib.accelerate(self)
            _alive.append(self)

    cls.__init__ = init


def pytest_configure(config: pytest.Config) -> None:
    """Patch the constructors of all layers that have a fast form."""
    for cls in VIEWS:
        _after_construction(cls)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave TorchScript out."""
    for item in items:
        if "jit" in item.name:
            item.add_marker(pytest.mark.skip(reason="TorchScript is out of scope"))


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Note which path the layers of the test took."""
    for module in _alive:
        if isinstance(module, Accelerated) and WHY in module.__dict__:
            path = module.__dict__[WHY] or "sparse core"
            _seen[f"{type(module).__name__}: {path}"] += 1
    _alive.clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show how often each path was the last one."""
    terminalreporter.section("paths of accelerated layers")
    for line, count in sorted(_seen.items()):
        terminalreporter.write_line(f"{count:6d}  {line}")
