"""Graph ViT and MLP-Mixer: graphs cut into overlapping patches, whose codes are mixed."""

from gnnlib.nn.patch.structure import GraphPatches, graph_patches, make_patches

__all__ = ["graph_patches", "GraphPatches", "make_patches"]
