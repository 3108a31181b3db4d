"""What gnnlib finds on this machine, which kernel serves each op here, and what would make it faster."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from gnnlib import machine
from gnnlib.sparse import registry

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
#: Distribution, module, the command that installs it, and what it is for.
_OPTIONAL = (
    ("ogb", "ogb", "pip install 'gnnlib[eval]'", "OGB datasets and their evaluators"),
    ("tensorboard", "tensorboard", "pip install 'gnnlib[log]'", "a log of training curves"),
    ("torch-scatter", "torch_scatter", "pip install 'gnnlib[scatter]'", "another backend of the segment ops"),
    ("triton", "triton", "pip install triton", "kernels for GPUs; it comes with torch's CUDA builds"),
)
_CORE = ("gnnlib", "torch", "torch-geometric", "numba", "numpy", "scipy")


@dataclass(frozen=True)
class Row:
    """One finding: ``advice`` says what to do about it, where there is something to do."""

    section: str
    name: str
    value: str
    advice: str | None = None


@dataclass(frozen=True)
class Report:
    """All findings, in order. Prints itself; ``lines`` and ``rows`` are for programs."""

    rows: tuple[Row, ...]

    @property
    def lines(self) -> list[str]:
        """The report as text, a heading for each section."""
        lines: list[str] = []
        width = max((len(row.name) for row in self.rows), default=0)
        section = None
        for row in self.rows:
            if row.section != section:
                section = row.section
                lines += [*([""] if lines else []), section]
            lines.append(f"  {row.name:<{width}}  {row.value}")
            if row.advice is not None:
                lines.append(f"  {'':<{width}}  -> {row.advice}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain objects."""
        return [asdict(row) for row in self.rows]


def doctor(model: nn.Module | None = None) -> Report:
    """Report on this machine and installation, or on the layers of a model.

    Args:
        model: a model; each of its graph layers is listed with the code that runs it, and why.

    Shapes: none. Without a model it runs one small kernel, which numba compiles first where its disk cache is
        cold; with one it runs nothing.
    """
    if model is not None:
        return Report(tuple(_model(model)))
    sections: list[Callable[[], Iterator[Row]]] = [
        _versions,
        _devices,
        _huge_pages,
        _numba,
        _packages,
        _ops,
    ]
    return Report(tuple(row for section in sections for row in section()))


def _versions() -> Iterator[Row]:
    yield Row("Versions", "python", sys.version.split()[0])
    for name in _CORE:
        found = machine.version(name)
        if found is None and name == "gnnlib":
            from gnnlib import __version__

            found = f"{__version__} (not installed: runs from its source)"
        yield Row("Versions", name, found or "missing", None if found else f"pip install {name}")


def _devices() -> Iterator[Row]:
    section = "Machine"
    yield Row(section, "CPU", machine.cpu_name())
    threads, cores = torch.get_num_threads(), machine.cores()
    advice = None
    if threads < cores:
        advice = f"{cores} cores may be used: torch.set_num_threads({cores}), or unset OMP_NUM_THREADS"
    elif threads > cores:
        advice = f"more threads than cores slow every op down: torch.set_num_threads({cores})"
    yield Row(section, "threads", f"torch uses {threads} of {cores} cores", advice)
    for k in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(k)
        yield Row(section, f"cuda:{k}", f"{p.name}, {p.total_memory / 2**30:.0f} GiB")
    if torch.cuda.device_count() == 0:
        yield Row(section, "GPU", "none that torch can use; every op runs on the CPU")


def _kib(field: str) -> int | None:
    try:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        pass  # not Linux, or a kernel without the file
    return None


def _huge_share() -> float | None:
    """Share of a fresh large tensor that the kernel put on huge pages; None where it does not tell."""
    size = 64 * 2**20
    before = _kib("AnonHugePages")
    tensor = torch.ones(size // 4)
    after = _kib("AnonHugePages")
    del tensor
    return None if before is None or after is None else (after - before) * 1024 / size


def _huge_pages() -> Iterator[Row]:
    section, variable = "Huge pages", machine.HUGE_PAGES_VARIABLE
    state = machine.huge_pages()
    kernel = state.kernel or "no such setting"
    advice = None
    if state.kernel == "never":
        advice = "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    yield Row(section, "kernel allows", kernel, advice)
    if state.kernel is None:
        return
    advice = None
    if not state.asked and state.kernel == "madvise":
        advice = (
            f"set {variable}=1 before Python starts: large CPU tensors then use huge pages, and training "
            "steps on large graphs take about half the time"
        )
    value = os.environ.get(variable)
    yield Row(section, variable, "not set" if value is None else value, advice)
    share = _huge_share()
    seen = "the kernel does not tell" if share is None else f"{max(0.0, min(share, 1.0)):.0%} on huge pages"
    yield Row(section, "a tensor of 64 MiB", seen)
    if state.asked:
        yield Row(section, "note", f"the gnnlib command sets {variable} for itself; your scripts must set it")


def _numba() -> Iterator[Row]:
    section = "CPU kernels (numba)"
    if importlib.util.find_spec("numba") is None:
        yield Row(section, "numba", "missing: plain torch runs in its place", "pip install numba")
        return
    import numba

    from gnnlib.sparse import as_csr, spmm
    from gnnlib.sparse.native.launch import Launcher

    adj = as_csr(torch.arange(4000).remainder(64).view(2, -1), 64)
    start = time.perf_counter()
    spmm(adj, torch.ones(64, 128))  # large enough for the pool of threads
    first = time.perf_counter() - start
    advice = "compile all kernels ahead: gnnlib doctor --warm" if first > 1 else None
    yield Row(section, "first call", f"{first:.2f} s", advice)
    try:
        layer = numba.threading_layer()
    except ValueError:  # one thread: no pool was started
        layer = "not started (one thread)"
    yield Row(section, "threading layer", f"{layer}, at most {numba.config.NUMBA_NUM_THREADS} threads")
    for op in registry.ops():
        registry.load(op)
    folders = {k.compiled.stats.cache_path for k in Launcher.kernels} - {None}
    if not folders:
        yield Row(section, "disk cache", "none", "set NUMBA_CACHE_DIR to a folder that can be written")
    else:
        common = os.path.commonpath(folders)
        blocked = [f for f in folders if os.path.isdir(f) and not os.access(f, os.W_OK)]
        where = common if len(folders) == 1 else f"{len(folders)} folders under {common}"
        advice = "set NUMBA_CACHE_DIR to a folder that can be written" if blocked else None
        yield Row(section, "disk cache", where + (", read-only" if blocked else ", writable"), advice)


def _packages() -> Iterator[Row]:
    for name, module, command, purpose in _OPTIONAL:
        if importlib.util.find_spec(module) is not None:
            yield Row("Optional packages", name, machine.version(name) or "installed")
        else:
            yield Row("Optional packages", name, f"missing: {purpose}", command)


#: Arguments of kernels that are integers, whatever the dtype of the features.
_INTEGER = frozenset({"arg", "col", "index", "indices", "indptr", "row"})


def _probe(fn: Callable[..., Any], device: str, dtype: torch.dtype) -> Iterator[Any]:
    """The least arguments that the signature of a kernel allows, with features of ``dtype``."""
    for name, parameter in inspect.signature(fn, eval_str=True).parameters.items():
        kind = parameter.annotation
        if kind is torch.Tensor and name in _INTEGER:
            yield torch.zeros(1, dtype=torch.int64, device=device)
        elif kind is torch.Tensor:
            yield torch.zeros(1, 1, 1, dtype=dtype, device=device)
        elif kind in (int, bool):
            yield kind(1)
        elif kind is str:
            yield "sum"
        elif hasattr(kind, "is_cuda"):  # a request for a sample, which tells its device
            yield SimpleNamespace(device=torch.device(device), is_cuda=device != "cpu")
        else:
            yield None


def _served(op: str, device: str, dtype: torch.dtype) -> str:
    """The backend that takes such inputs, and why each faster one does not."""
    missing = dict(registry.unavailable(op))
    kernels = {k.backend: k for k in registry.load(op)}
    aside: dict[str, list[str]] = {}
    serves = "none"
    for backend in registry.BACKENDS:
        kernel = kernels.get(backend)
        reason: str | None = missing.get(backend, "not loaded")
        if kernel is not None:
            reason = kernel.refuse(*_probe(kernel.fn, device, dtype))
            if reason is None and backend == "gpu" and device == "cpu":
                reason = "Triton's interpreter runs it here, only under use_backend('gpu')"
        if reason is None:
            serves = backend
            break
        # Several backends are often absent alike: one phrase for all of them.
        phrase = reason.replace(f"no {backend} kernel is written for {op} yet", "not written yet")
        aside.setdefault(phrase, []).append(backend)
    return "; ".join([serves, *(f"{', '.join(names)}: {why}" for why, names in aside.items())])


def _ops() -> Iterator[Row]:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        section = f"Ops on {device}: backend, and why a faster one stands aside"
        for op in registry.ops():
            found: dict[str, list[str]] = {}
            for dtype in _DTYPES:
                found.setdefault(_served(op, device, dtype), []).append(str(dtype).removeprefix("torch."))
            for served, dtypes in found.items():
                name = op if len(found) == 1 else f"{op} ({', '.join(dtypes)})"
                yield Row(section, name, served)


def _model(model: nn.Module) -> Iterator[Row]:
    section = f"Layers of {type(model).__name__}"
    found = dict(_our_layers(model))
    if "torch_geometric" in sys.modules:  # otherwise no layer can be PyG's
        from gnnlib.accel import layers

        for layer in layers(model):
            where = "sparse core" if layer.path == "core" else "PyG's code"
            value, _, advice = layer.why.partition("; ")
            text = f"{layer.kind}: {where}, {value}"
            found[layer.name] = Row(section, layer.name or "(the model)", text, advice or None)
    order = {name: k for k, (name, _) in enumerate(model.named_modules())}
    yield from (found[name] for name in sorted(found, key=order.__getitem__))
    if not found:
        yield Row(section, "none", "holds no layer of gnnlib.nn and no PyG layer")


def _our_layers(model: nn.Module) -> Iterator[tuple[str, Row]]:
    inside: list[str] = []
    for name, module in model.named_modules():
        if type(module).__module__.startswith("gnnlib.nn") and not name.startswith(tuple(inside)):
            inside.append(f"{name}." if name else "")
            value = f"{type(module).__name__}: sparse core, a layer of gnnlib"
            yield name, Row(f"Layers of {type(model).__name__}", name or "(the model)", value)
