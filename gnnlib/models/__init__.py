"""Ready models for node, graph, link and hypergraph tasks, each with a frozen config dataclass."""

from gnnlib.models.autoencoders import ARGAConfig, ARVGAConfig, AutoencoderModel, VGAEConfig
from gnnlib.models.category import CatGCNConfig
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
from gnnlib.models.encoders import CategoryEncoder, Part
from gnnlib.models.fingerprint import FingerprintConfig
from gnnlib.models.gated import TypedGGNNConfig
from gnnlib.models.gmt import GMTConfig
from gnnlib.models.gspn import GSPNConfig
from gnnlib.models.heads import GraphModel, IncidenceModel, LinkModel, NodeModel
from gnnlib.models.heuristics import HeuristicConfig
from gnnlib.models.hyper_configs import (
    AllSetConfig,
    EDHNNConfig,
    EDHNNIIConfig,
    HCHAConfig,
    HNHNConfig,
    HyperConfig,
    HyperGCNConfig,
    PhenomNNConfig,
    UniConfig,
    UniGATConfig,
    UniGCNIIConfig,
)
from gnnlib.models.link import NCNCConfig, NCNConfig
from gnnlib.models.overlap import NeoGNNConfig, NeoGNNModel
from gnnlib.models.patches import GraphMixerConfig, GraphViTConfig
from gnnlib.models.path import PathNNConfig
from gnnlib.models.pooling import HierarchicalConfig, PooledConfig
from gnnlib.models.recommend import LCFN, LCFNConfig, LightGCN, LightGCNConfig
from gnnlib.models.registry import build, config_class, names, takes_edges, takes_parts, tasks
from gnnlib.models.seal import DGCNN, SEALConfig, SEALModel
from gnnlib.models.sets import SetConfig
from gnnlib.models.sheaf import NSDConfig, SheafNNConfig
from gnnlib.models.sketch import BUDDYConfig, ELPHConfig, SketchModel
from gnnlib.models.spectral import CayleyNetConfig, ChebNetConfig
from gnnlib.models.temporal import (
    DCRNN,
    STGCN,
    DCRNNConfig,
    GraphWaveNet,
    GraphWaveNetConfig,
    STGCNConfig,
)

__all__ = [
    "AIRConfig",
    "AllSetConfig",
    "APPNPConfig",
    "ARGAConfig",
    "ARVGAConfig",
    "AutoencoderModel",
    "BUDDYConfig",
    "build",
    "CategoryEncoder",
    "CatGCNConfig",
    "CayleyNetConfig",
    "ChebNetConfig",
    "config_class",
    "DAGNNConfig",
    "DCRNN",
    "DCRNNConfig",
    "DGCNConfig",
    "DGCNN",
    "DGMLPConfig",
    "DiGCNConfig",
    "DiGCNIBConfig",
    "DirGNNConfig",
    "DirResolvNetConfig",
    "EDHNNConfig",
    "EDHNNIIConfig",
    "ELPHConfig",
    "FaberNetConfig",
    "FingerprintConfig",
    "GAEConfig",
    "GATConfig",
    "GCNConfig",
    "GCNIIConfig",
    "GGNNConfig",
    "GINConfig",
    "GMTConfig",
    "GPRGNNConfig",
    "GraphConvConfig",
    "GraphMixerConfig",
    "GraphModel",
    "GraphViTConfig",
    "GraphWaveNet",
    "GraphWaveNetConfig",
    "GSPNConfig",
    "HCHAConfig",
    "HeuristicConfig",
    "HierarchicalConfig",
    "HNHNConfig",
    "HyperConfig",
    "HyperGCNConfig",
    "IncidenceModel",
    "JKNetConfig",
    "LazyGNNConfig",
    "LCFN",
    "LCFNConfig",
    "LightGCN",
    "LightGCNConfig",
    "LinkModel",
    "MagNetConfig",
    "MLPConfig",
    "ModelConfig",
    "names",
    "NCNCConfig",
    "NCNConfig",
    "NeoGNNConfig",
    "NeoGNNModel",
    "NodeModel",
    "NSDConfig",
    "Part",
    "PathNNConfig",
    "PhenomNNConfig",
    "PooledConfig",
    "ResidualConfig",
    "ResidualGATConfig",
    "SAGEConfig",
    "SEALConfig",
    "SEALModel",
    "SetConfig",
    "SGCConfig",
    "SheafNNConfig",
    "SketchModel",
    "StackConfig",
    "STGCN",
    "STGCNConfig",
    "takes_edges",
    "takes_parts",
    "tasks",
    "TypedGGNNConfig",
    "UniConfig",
    "UniGATConfig",
    "UniGCNIIConfig",
    "VGAEConfig",
]
