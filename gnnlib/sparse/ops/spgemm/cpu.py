"""Sparse-sparse product on a CPU: a thread collects a row of the result in a dense row that it owns.

Each thread takes runs of rows that are equal in the number of products; what a row holds depends on it alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from gnnlib.sparse.native import bits, tile
from gnnlib.sparse.native.helper import helper
from gnnlib.sparse.native.launch import Launcher, array, num_threads
from gnnlib.sparse.native.rows import RUNS, run_start
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.registry import FLOATS, kernel, needs

#: With a part of all words this large, going through all of them in order is faster than sorting those that
#: hold bits (two-core EPYC Milan).
DENSE = 1 / 8


@njit(cache=True)
def _count_products(a_indptr, a_indices, b_indptr, products):
    """Products up to each row, as offsets."""
    products[0] = 0
    for i in range(a_indptr.size - 1):
        total = products[i]
        for e in range(a_indptr[i], a_indptr[i + 1]):
            k = a_indices[e]
            total += b_indptr[k + 1] - b_indptr[k]
        products[i + 1] = total


# -- places -------------------------------------------------------------------------------------------


@helper
def _mark(i, a_indptr, a_indices, b_indptr, b_indices, words, touched):
    """Set the bits of the columns of row i; the number of columns and of words with bits."""
    count, num_touched = 0, 0
    for e in range(tile.item(a_indptr, i), tile.item(a_indptr, i + 1)):
        k = np.int64(tile.item(a_indices, e))
        for s in range(tile.item(b_indptr, k), tile.item(b_indptr, k + 1)):
            j = np.int64(tile.item(b_indices, s))
            at = j >> 6
            bit = np.uint64(1) << np.uint64(j & 63)
            word = tile.item(words, at)
            touched[num_touched] = at  # overwritten by the next one if this word has been met
            num_touched += word == 0
            count += (word & bit) == 0
            words[at] = word | bit
    return count, num_touched


@helper
def _count_rows(a_indptr, a_indices, b_indptr, b_indices, words, touched, counts, lo, hi):
    for i in range(lo, hi):
        count, num_touched = _mark(i, a_indptr, a_indices, b_indptr, b_indices, words, touched)
        counts[i + 1] = count
        for t in range(num_touched):
            words[touched[t]] = 0


@helper
def _unpack(at, words, indices, slot):
    """Write the columns of a word in order and clear it; the slot after them."""
    word = words[at]
    while word != 0:
        indices[slot] = at * 64 + bits.lowest(word)
        slot += 1
        word &= word - np.uint64(1)
    words[at] = 0
    return slot


@helper
def _fill_rows(a_indptr, a_indices, b_indptr, b_indices, words, touched, indptr, indices, lo, hi):
    for i in range(lo, hi):
        _, num_touched = _mark(i, a_indptr, a_indices, b_indptr, b_indices, words, touched)
        slot = indptr[i]
        if num_touched > DENSE * words.size:
            for at in range(words.size):
                slot = _unpack(at, words, indices, slot)
        else:
            touched[:num_touched].sort()
            for t in range(num_touched):
                slot = _unpack(touched[t], words, indices, slot)


def _pattern_count(products, a_indptr, a_indices, b_indptr, b_indices, words, touched, counts):
    for t in prange(words.shape[0]):
        for run in range(t, RUNS, words.shape[0]):
            lo, hi = run_start(products, run), run_start(products, run + 1)
            _count_rows(a_indptr, a_indices, b_indptr, b_indices, words[t], touched[t], counts, lo, hi)


def _pattern_fill(products, a_indptr, a_indices, b_indptr, b_indices, words, touched, indptr, indices):
    for t in prange(words.shape[0]):
        for run in range(t, RUNS, words.shape[0]):
            lo, hi = run_start(products, run), run_start(products, run + 1)
            _fill_rows(
                a_indptr, a_indices, b_indptr, b_indices, words[t], touched[t], indptr, indices, lo, hi
            )


_count_launch = Launcher(_pattern_count)
_fill_launch = Launcher(_pattern_fill)


def _products(*arrays: np.ndarray) -> np.ndarray:
    products = np.empty(arrays[0].size, np.int64)
    _count_products(*arrays, products)
    return products


@kernel("spgemm_pattern", "cpu", refuse=needs("cpu", frozenset()))
def spgemm_pattern(
    a_indptr: Tensor, a_indices: Tensor, b_indptr: Tensor, b_indices: Tensor, num_cols: int
) -> tuple[Tensor, Tensor]:
    args = [array(t) for t in (a_indptr, a_indices, b_indptr, b_indices)]
    products = _products(*args[:3])
    work = 4 * int(products[-1]) + a_indptr.shape[0]
    size = (num_threads(), num_cols // 64 + 2)  # a word more than there are, for the place after the last
    space = np.zeros(size, np.uint64), np.empty(size, np.int64)
    counts = np.zeros(a_indptr.shape[0], np.int64)
    _count_launch(work, products, *args, *space, counts)
    indptr = torch.from_numpy(counts.cumsum())
    indices = torch.empty(int(indptr[-1]), dtype=index_dtype(num_cols))
    _fill_launch(work, products, *args, *space, indptr.numpy(), indices.numpy())
    return indptr, indices


# -- values -------------------------------------------------------------------------------------------


@helper
def _value_rows(
    a_indptr, a_indices, a_value, b_indptr, b_indices, b_value, c_indptr, c_indices, row, out, lo, hi
):
    for i in range(lo, hi):
        for t in range(c_indptr[i], c_indptr[i + 1]):
            row[c_indices[t]] = 0
        for e in range(tile.item(a_indptr, i), tile.item(a_indptr, i + 1)):
            k = np.int64(tile.item(a_indices, e))
            value = tile.item(a_value, e)
            for s in range(tile.item(b_indptr, k), tile.item(b_indptr, k + 1)):
                row[np.int64(tile.item(b_indices, s))] += value * tile.item(b_value, s)
        for t in range(c_indptr[i], c_indptr[i + 1]):
            out[t] = row[c_indices[t]]


def _spgemm_values(
    products, a_indptr, a_indices, a_value, b_indptr, b_indices, b_value, c_indptr, c_indices, rows, out
):
    for t in prange(rows.shape[0]):
        for run in range(t, RUNS, rows.shape[0]):
            lo, hi = run_start(products, run), run_start(products, run + 1)
            _value_rows(
                a_indptr,
                a_indices,
                a_value,
                b_indptr,
                b_indices,
                b_value,
                c_indptr,
                c_indices,
                rows[t],
                out,
                lo,
                hi,
            )


@helper
def _sampled_rows(
    p_indptr, p_indices, g_indptr, g_indices, g_value, q_indptr, q_indices, q_value, row, out, lo, hi
):
    for i in range(lo, hi):
        for t in range(g_indptr[i], g_indptr[i + 1]):
            row[g_indices[t]] = g_value[t]
        for e in range(tile.item(p_indptr, i), tile.item(p_indptr, i + 1)):
            k = np.int64(tile.item(p_indices, e))
            total = row.dtype.type(0)
            for s in range(tile.item(q_indptr, k), tile.item(q_indptr, k + 1)):
                total += tile.item(q_value, s) * row[np.int64(tile.item(q_indices, s))]
            out[e] = total
        for t in range(g_indptr[i], g_indptr[i + 1]):
            row[g_indices[t]] = 0


def _spgemm_sampled(
    products, p_indptr, p_indices, g_indptr, g_indices, g_value, q_indptr, q_indices, q_value, rows, out
):
    for t in prange(rows.shape[0]):
        for run in range(t, RUNS, rows.shape[0]):
            lo, hi = run_start(products, run), run_start(products, run + 1)
            _sampled_rows(
                p_indptr,
                p_indices,
                g_indptr,
                g_indices,
                g_value,
                q_indptr,
                q_indices,
                q_value,
                rows[t],
                out,
                lo,
                hi,
            )


_values_launch = Launcher(_spgemm_values)
_sampled_launch = Launcher(_spgemm_sampled)


@kernel("spgemm_values", "cpu", refuse=needs("cpu", FLOATS))
def spgemm_values(
    a_indptr: Tensor,
    a_indices: Tensor,
    a_value: Tensor,
    b_indptr: Tensor,
    b_indices: Tensor,
    b_value: Tensor,
    c_indptr: Tensor,
    c_indices: Tensor,
    num_cols: int,
) -> Tensor:
    dtype = accumulate_dtype(a_value.dtype)
    a = array(a_indptr), array(a_indices), array(a_value, dtype)
    b = array(b_indptr), array(b_indices), array(b_value, dtype)
    products = _products(*a[:2], b[0])
    out = torch.zeros(c_indices.shape[0], dtype=dtype)
    rows = np.zeros((num_threads(), num_cols), a[2].dtype)
    work = 4 * int(products[-1]) + c_indices.shape[0]
    _values_launch(work, products, *a, *b, array(c_indptr), array(c_indices), rows, out.numpy())
    return out.to(a_value.dtype)


@kernel("spgemm_sampled", "cpu", refuse=needs("cpu", FLOATS))
def spgemm_sampled(
    p_indptr: Tensor,
    p_indices: Tensor,
    g_indptr: Tensor,
    g_indices: Tensor,
    g_value: Tensor,
    q_indptr: Tensor,
    q_indices: Tensor,
    q_value: Tensor,
    num_cols: int,
) -> Tensor:
    dtype = accumulate_dtype(g_value.dtype)
    p = array(p_indptr), array(p_indices)
    g = array(g_indptr), array(g_indices), array(g_value, dtype)
    q = array(q_indptr), array(q_indices), array(q_value, dtype)
    products = _products(*p, q[0])
    out = torch.zeros(p_indices.shape[0], dtype=dtype)
    rows = np.zeros((num_threads(), num_cols), g[2].dtype)
    work = 4 * int(products[-1]) + p_indices.shape[0]
    _sampled_launch(work, products, *p, *g, *q, rows, out.numpy())
    return out.to(g_value.dtype)
