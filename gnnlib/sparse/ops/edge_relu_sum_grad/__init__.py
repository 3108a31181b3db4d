"""The gradient of :func:`gnnlib.sparse.edge_relu_sum`, one kernel; see that op."""

__all__: list[str] = []
