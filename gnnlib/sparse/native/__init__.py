"""Building blocks of the numba kernels: vector tiles, prefetch, work splitting and launch.

Nothing here is imported before the first CPU kernel runs.
"""
