"""Everything that ``__all__`` names keeps its promises: a docstring, shapes, annotations, a contract case."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

import gnnlib

PACKAGES = [
    "gnnlib",
    *sorted(m.name for m in pkgutil.walk_packages(gnnlib.__path__, "gnnlib.") if m.ispkg),
]
MAX_SUMMARY = 110


def public() -> dict[str, Any]:
    """Every object that some ``__all__`` names, once, under its first dotted name."""
    found: dict[int, tuple[str, Any]] = {}
    for package in PACKAGES:
        try:
            module = importlib.import_module(package)
            values = {name: getattr(module, name) for name in getattr(module, "__all__", [])}
        except (AttributeError, ImportError):
            continue  # test_structure imports each package too, and fails with its name
        for name, value in values.items():
            found.setdefault(id(value), (f"{package}.{name}", value))
    return dict(found.values())


PUBLIC = public()
DOCUMENTED = {n: v for n, v in PUBLIC.items() if inspect.isclass(v) or inspect.isfunction(v)}


def ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "gnnlib"


def is_exception(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def needs_shapes(name: str, value: Any) -> bool:
    """Layers, models and ops: what takes tensors and gives tensors."""
    area = name.split(".")[1]
    if inspect.isclass(value):
        return area in {"nn", "models"} and issubclass(value, nn.Module)
    return area in {"sparse", "nn"} and "Tensor" in str(inspect.signature(value))


def summary_fault(value: Any) -> str | None:
    """What is wrong with the first line of a docstring, or None."""
    text = inspect.getdoc(value) if value.__doc__ else None
    if not text:
        return "has no docstring"
    lines = text.splitlines()
    if inspect.isclass(value) and lines[0].startswith(f"{value.__name__}("):
        return "has only the signature that dataclass wrote for a docstring"
    if not lines[0].endswith("."):
        return f"opens with {lines[0]!r}: one line that ends with a full stop"
    if len(lines[0]) >= MAX_SUMMARY:
        return f"opens with a line of {len(lines[0])} characters; keep it under {MAX_SUMMARY}"
    if len(lines) > 1 and lines[1].strip():
        return "needs an empty line after its first line"
    return None


def test_something_is_public() -> None:
    assert {"gnnlib.as_csr", "gnnlib.use_backend"} <= set(PUBLIC)
    assert any(n.startswith("gnnlib.nn.") for n in DOCUMENTED)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_object_is_ours_and_documented(name: str) -> None:
    value = PUBLIC[name]
    if isinstance(value, ModuleType):
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"
    elif name in DOCUMENTED:
        assert ours(value), f"{name} comes from {value.__module__}: import it from there"
        fault = summary_fault(value)
        assert fault is None, f"{name} {fault}"


@pytest.mark.parametrize("name", sorted(n for n, v in DOCUMENTED.items() if needs_shapes(n, v)))
def test_layers_models_and_ops_tell_their_shapes(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    found = re.search(r"^Shapes?:(.*(?:\n(?:[ ].*|))*)", text, re.MULTILINE)
    assert found is not None, f"{name}: its docstring needs a section 'Shapes:'"
    assert found[1].strip(), f"{name}: the section 'Shapes:' is empty"


def functions(name: str, value: Any) -> list[tuple[str, Any]]:
    """A public function, or the constructor and the public methods that a public class defines itself."""
    if inspect.isfunction(value):
        return [(name, value)]
    found = []
    for key, member in vars(value).items():
        if key.startswith("_") and key not in {"__init__", "__call__"}:
            continue
        if isinstance(member, property):
            member = member.fget
        member = getattr(member, "__func__", member)  # static and class methods
        if inspect.isfunction(member) and member.__module__ == value.__module__:
            found.append((f"{name}.{key}", member))
    return found


FUNCTIONS = [
    f for n, v in sorted(DOCUMENTED.items()) if ours(v) and not is_exception(v) for f in functions(n, v)
]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[n for n, _ in FUNCTIONS])
def test_public_functions_are_annotated(name: str, function: Any) -> None:
    signature = inspect.signature(function)
    bare = [
        p.name
        for i, p in enumerate(signature.parameters.values())
        if p.annotation is p.empty and not (i == 0 and p.name in {"self", "cls"})
    ]
    assert not bare, f"{name}: {bare} have no annotation"
    assert signature.return_annotation is not signature.empty, f"{name} has no return annotation"


def test_package_is_typed() -> None:
    assert Path(gnnlib.__path__[0], "py.typed").exists()


def layers() -> list[str]:
    found = {n.rpartition(".")[2]: v for n, v in DOCUMENTED.items() if n.startswith("gnnlib.nn.")}
    for base in ("Aggregation", "Pooling"):  # without a forward of their own
        found.pop(base, None)
    return sorted(n for n, v in found.items() if inspect.isclass(v) and issubclass(v, nn.Module))


def test_every_layer_has_a_contract_case() -> None:
    tables = ("tests.nn.cases", "tests.nn.aggr_cases", "tests.nn.pool_cases")
    cases = [case for table in tables for case in importlib.import_module(table).CASES]
    missing = set(layers()) - {type(case.build()).__name__ for case in cases}
    assert not missing, "without a case in tests/nn/cases.py, aggr_cases.py or pool_cases.py"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "no docstring"),
        ("Adds two numbers", "full stop"),
        ("Adds two numbers.\nAnd more.", "empty line"),
        ("x" * 200 + ".", "under"),
    ],
)
def test_a_poor_docstring_is_noticed(text: str | None, fault: str) -> None:
    def poor() -> None: ...

    poor.__doc__ = text
    assert fault in (summary_fault(poor) or "")
