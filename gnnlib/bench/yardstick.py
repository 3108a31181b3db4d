"""The loop to be measured against: a neighbour sum in AVX2 intrinsics, compiled when the bench runs.

A row's sum stays in registers while its edges pass by, the features of the edges ahead are prefetched,
and each thread owns a run of rows with an equal share of the edges. It takes float32, no weights and
widths that are a multiple of 64, which is what makes it a yardstick and not a kernel.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from gnnlib.bench.graphs import UnavailableError

#: Floats summed in registers at a time, as 8 or 16 vectors of 8.
TILES = (128, 64)

_SOURCE = r"""
#include <immintrin.h>
#include <stdint.h>

enum { AHEAD = 8 };

#define SUM_ROWS(NAME, TILE)                                                                   \
void NAME(const int64_t *indptr, const int32_t *indices, const float *x, float *out,           \
          int64_t first, int64_t last, int64_t width)                                          \
{                                                                                              \
    const int64_t end = indptr[last];                                                          \
    for (int64_t from = 0; from < width; from += TILE)                                         \
        for (int64_t row = first; row < last; row++) {                                         \
            __m256 sum[TILE / 8];                                                              \
            for (int k = 0; k < TILE / 8; k++) sum[k] = _mm256_setzero_ps();                   \
            for (int64_t e = indptr[row]; e < indptr[row + 1]; e++) {                          \
                const int64_t next = e + AHEAD < end ? e + AHEAD : end - 1;                    \
                const char *coming = (const char *)(x + (int64_t)indices[next] * width + from);\
                for (int line = 0; line < TILE / 16; line++)                                   \
                    _mm_prefetch(coming + 64 * line, _MM_HINT_T0);                             \
                const float *source = x + (int64_t)indices[e] * width + from;                  \
                for (int k = 0; k < TILE / 8; k++)                                             \
                    sum[k] = _mm256_add_ps(sum[k], _mm256_loadu_ps(source + 8 * k));           \
            }                                                                                  \
            float *target = out + row * width + from;                                          \
            for (int k = 0; k < TILE / 8; k++) _mm256_storeu_ps(target + 8 * k, sum[k]);       \
        }                                                                                      \
}

SUM_ROWS(sum_rows_128, 128)
SUM_ROWS(sum_rows_64, 64)
"""


def _has_avx2() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text().replace("\n", " ")
    except OSError:
        return False


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UnavailableError("needs a C compiler: none of cc, gcc, clang is on the path")
    if not _has_avx2():
        raise UnavailableError("needs an x86-64 CPU with AVX2")
    with tempfile.TemporaryDirectory(prefix="gnnlib-yardstick-") as folder:
        source, library = Path(folder, "yardstick.c"), Path(folder, "yardstick.so")
        source.write_text(_SOURCE)
        done = subprocess.run(
            [compiler, "-O3", "-mavx2", "-shared", "-fPIC", str(source), "-o", str(library)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise UnavailableError(f"{compiler} could not compile it: {said[0]}")
        return ctypes.CDLL(str(library))  # stays mapped after the file is gone


def neighbor_sum(indptr: Tensor, indices: Tensor, width: int) -> Callable[[Tensor], Tensor]:
    """A function ``x [C, F] -> out [R, F]``, out_i = sum_j x_j, for one CSR and ``torch.get_num_threads()``.

    Raises:
        UnavailableError: without a C compiler or AVX2, or for a width that is no multiple of 64.
    """
    tile = next((t for t in TILES if width % t == 0), None)
    if tile is None:
        raise UnavailableError(f"takes widths that are a multiple of {TILES[-1]}, got {width}")
    kernel = getattr(_library(), f"sum_rows_{tile}")
    kernel.restype = None
    rows, edges = indptr.numel() - 1, indices.numel()
    indptr, indices = indptr.long().contiguous(), indices.int().contiguous()
    threads = torch.get_num_threads()
    share = torch.arange(1, threads) * edges // threads
    cuts = [0, *torch.searchsorted(indptr, share).clamp(max=rows).tolist(), rows]
    pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def run(x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or x.size(1) != width or not x.is_contiguous():
            raise ValueError(
                f"yardstick: takes contiguous float32 rows of {width}, got {tuple(x.shape)} {x.dtype}"
            )
        out = torch.empty(rows, width)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (indptr, indices, x, out)]

        def part(k: int) -> None:
            kernel(*pointers, *(ctypes.c_int64(v) for v in (cuts[k], cuts[k + 1], width)))

        waiting = [pool.submit(part, k) for k in range(1, threads)] if pool else []
        part(0)
        for w in waiting:
            w.result()
        return out

    return run
