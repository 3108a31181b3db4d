"""Long-range tasks made by seeded generators: trees, transfers, paths and grids, properties, cities."""

from gnnlib.data.longrange.city import city_network
from gnnlib.data.longrange.glora import glora
from gnnlib.data.longrange.properties import property_graphs
from gnnlib.data.longrange.transfer import transfer
from gnnlib.data.longrange.tree import tree_neighbors_match

__all__ = ["city_network", "glora", "property_graphs", "transfer", "tree_neighbors_match"]
