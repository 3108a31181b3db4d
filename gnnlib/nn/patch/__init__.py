"""Graph ViT and MLP-Mixer: graphs cut into overlapping patches, whose codes are mixed."""

from gnnlib.nn.patch.blocks import MixerBlock, PatchAttention, PatchTransformer
from gnnlib.nn.patch.encoder import PatchEncoder
from gnnlib.nn.patch.model import GraphViTMixer
from gnnlib.nn.patch.partition import GraphPartition
from gnnlib.nn.patch.structure import GraphPatches, graph_patches, make_patches

__all__ = [
    "graph_patches",
    "GraphPartition",
    "GraphPatches",
    "GraphViTMixer",
    "make_patches",
    "MixerBlock",
    "PatchAttention",
    "PatchEncoder",
    "PatchTransformer",
]
