"""Ready models for node, graph and link tasks, each with a frozen config dataclass."""

from gnnlib.models.configs import (
    APPNPConfig,
    GAEConfig,
    GATConfig,
    GCNConfig,
    GINConfig,
    GraphConvConfig,
    MLPConfig,
    ModelConfig,
    SAGEConfig,
    SGCConfig,
    StackConfig,
)
from gnnlib.models.deep import (
    AIRConfig,
    DAGNNConfig,
    DGMLPConfig,
    GCNIIConfig,
    GPRGNNConfig,
    JKNetConfig,
    LazyGNNConfig,
)
from gnnlib.models.directed import (
    DGCNConfig,
    DiGCNConfig,
    DiGCNIBConfig,
    DirGNNConfig,
    DirResolvNetConfig,
    FaberNetConfig,
    MagNetConfig,
)
from gnnlib.models.edges import GGNNConfig, ResidualConfig, ResidualGATConfig
from gnnlib.models.encoders import CategoryEncoder
from gnnlib.models.fingerprint import FingerprintConfig
from gnnlib.models.heads import GraphModel, LinkModel, NodeModel
from gnnlib.models.pooling import HierarchicalConfig, PooledConfig
from gnnlib.models.registry import build, config_class, names, takes_edges, tasks
from gnnlib.models.sets import SetConfig
from gnnlib.models.sheaf import NSDConfig, SheafNNConfig

__all__ = [
    "AIRConfig",
    "APPNPConfig",
    "build",
    "CategoryEncoder",
    "config_class",
    "DAGNNConfig",
    "DGCNConfig",
    "DGMLPConfig",
    "DiGCNConfig",
    "DiGCNIBConfig",
    "DirGNNConfig",
    "DirResolvNetConfig",
    "FaberNetConfig",
    "FingerprintConfig",
    "GAEConfig",
    "GATConfig",
    "GCNConfig",
    "GCNIIConfig",
    "GGNNConfig",
    "GINConfig",
    "GPRGNNConfig",
    "GraphConvConfig",
    "GraphModel",
    "HierarchicalConfig",
    "JKNetConfig",
    "LazyGNNConfig",
    "LinkModel",
    "MagNetConfig",
    "MLPConfig",
    "ModelConfig",
    "names",
    "NodeModel",
    "NSDConfig",
    "PooledConfig",
    "ResidualConfig",
    "ResidualGATConfig",
    "SAGEConfig",
    "SetConfig",
    "SGCConfig",
    "SheafNNConfig",
    "StackConfig",
    "takes_edges",
    "tasks",
]
