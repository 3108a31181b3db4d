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
from gnnlib.models.encoders import CategoryEncoder
from gnnlib.models.heads import GraphModel, LinkModel, NodeModel
from gnnlib.models.registry import build, config_class, names, tasks

__all__ = [
    "APPNPConfig",
    "build",
    "CategoryEncoder",
    "config_class",
    "GAEConfig",
    "GATConfig",
    "GCNConfig",
    "GINConfig",
    "GraphConvConfig",
    "GraphModel",
    "LinkModel",
    "MLPConfig",
    "ModelConfig",
    "names",
    "NodeModel",
    "SAGEConfig",
    "SGCConfig",
    "StackConfig",
    "tasks",
]
