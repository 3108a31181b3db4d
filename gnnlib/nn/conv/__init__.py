"""Message-passing layers, one file each."""

from gnnlib.nn.conv.appnp import APPNP
from gnnlib.nn.conv.gat import GATConv
from gnnlib.nn.conv.gcn import GCNConv
from gnnlib.nn.conv.gin import GINConv
from gnnlib.nn.conv.graphconv import GraphConv
from gnnlib.nn.conv.sage import SAGEConv
from gnnlib.nn.conv.sg import SGConv

__all__ = ["APPNP", "GATConv", "GCNConv", "GINConv", "GraphConv", "SAGEConv", "SGConv"]
