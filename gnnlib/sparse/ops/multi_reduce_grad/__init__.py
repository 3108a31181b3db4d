"""The gradient of :func:`gnnlib.sparse.multi_reduce`, one kernel; see that op."""

__all__: list[str] = []
