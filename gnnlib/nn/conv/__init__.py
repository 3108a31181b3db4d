"""Message-passing layers, one file each."""

from gnnlib.nn.conv.air import AIRConv, AIRGate
from gnnlib.nn.conv.appnp import APPNP
from gnnlib.nn.conv.arma import ARMAConv
from gnnlib.nn.conv.cayley import CayleyConv
from gnnlib.nn.conv.cheb import ChebConv
from gnnlib.nn.conv.cluster_gcn import ClusterGCNConv
from gnnlib.nn.conv.dagnn import DAGNNConv
from gnnlib.nn.conv.digcn import DGCNConv, DiGCNConv, DiGCNInceptionConv
from gnnlib.nn.conv.dirgnn import DirGCNConv, DirGNNConv
from gnnlib.nn.conv.edge import EdgeConv
from gnnlib.nn.conv.fa import FAConv
from gnnlib.nn.conv.faber import ComplexFaberConv, FaberConv
from gnnlib.nn.conv.gat import GATConv
from gnnlib.nn.conv.gated_graph import GatedGraphConv
from gnnlib.nn.conv.gatv2 import GATv2Conv
from gnnlib.nn.conv.gcn import GCNConv
from gnnlib.nn.conv.gcn2 import GCN2Conv
from gnnlib.nn.conv.gen import GENConv
from gnnlib.nn.conv.ggnn import GGNNConv
from gnnlib.nn.conv.gin import GINConv
from gnnlib.nn.conv.gine import GINEConv
from gnnlib.nn.conv.gpr import GPRConv
from gnnlib.nn.conv.graphconv import GraphConv
from gnnlib.nn.conv.hypergraph import HypergraphConv
from gnnlib.nn.conv.lazy import LazyPropagation
from gnnlib.nn.conv.le import LEConv
from gnnlib.nn.conv.lg import LGConv
from gnnlib.nn.conv.magnet import MagNetConv
from gnnlib.nn.conv.mf import MFConv
from gnnlib.nn.conv.mixhop import MixHopConv
from gnnlib.nn.conv.nnconv import ECConv, NNConv
from gnnlib.nn.conv.pna import PNAConv
from gnnlib.nn.conv.res_gated import ResGatedGraphConv
from gnnlib.nn.conv.resolvent import DirResolvConv
from gnnlib.nn.conv.rgcn import FastRGCNConv, RGCNConv
from gnnlib.nn.conv.sage import SAGEConv
from gnnlib.nn.conv.sg import SGConv
from gnnlib.nn.conv.smoothing import SmoothedHops, smoothing_weights
from gnnlib.nn.conv.ssg import SSGConv
from gnnlib.nn.conv.supergat import SuperGATConv
from gnnlib.nn.conv.tag import TAGConv
from gnnlib.nn.conv.transformer import TransformerConv

__all__ = [
    "AIRConv",
    "AIRGate",
    "APPNP",
    "ARMAConv",
    "CayleyConv",
    "ChebConv",
    "ClusterGCNConv",
    "ComplexFaberConv",
    "DAGNNConv",
    "DGCNConv",
    "DiGCNConv",
    "DiGCNInceptionConv",
    "DirGCNConv",
    "DirGNNConv",
    "DirResolvConv",
    "ECConv",
    "EdgeConv",
    "FaberConv",
    "FAConv",
    "FastRGCNConv",
    "GATConv",
    "GatedGraphConv",
    "GATv2Conv",
    "GCN2Conv",
    "GCNConv",
    "GENConv",
    "GGNNConv",
    "GINConv",
    "GINEConv",
    "GPRConv",
    "GraphConv",
    "HypergraphConv",
    "LazyPropagation",
    "LEConv",
    "LGConv",
    "MagNetConv",
    "MFConv",
    "MixHopConv",
    "NNConv",
    "PNAConv",
    "ResGatedGraphConv",
    "RGCNConv",
    "SAGEConv",
    "SGConv",
    "SmoothedHops",
    "smoothing_weights",
    "SSGConv",
    "SuperGATConv",
    "TAGConv",
    "TransformerConv",
]
