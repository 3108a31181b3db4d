"""Node embeddings as scikit-learn estimators, and how good they are."""

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.evaluate import (
    classify_nodes,
    classify_split,
    edge_features,
    known_k,
    predict_links,
    split_links,
)
from gnnlib.embed.factor import HOPE, GraRep, NetMF, ProNE, spectral_propagate
from gnnlib.embed.fisher import FisherInformationEmbedding
from gnnlib.embed.fisher_net import FIEConv, FIENet, SupervisedFIE
from gnnlib.embed.hyperbolic import HyperbolicMDS, distortion, poincare_distance
from gnnlib.embed.line import LINE
from gnnlib.embed.poincare import PoincareEmbedding
from gnnlib.embed.projection import FastRP, RandNE
from gnnlib.embed.sarkar import SarkarEmbedding
from gnnlib.embed.walk import DeepWalk, Node2Vec, Walklets

__all__ = [
    "classify_nodes",
    "classify_split",
    "DeepWalk",
    "distortion",
    "edge_features",
    "FastRP",
    "FIEConv",
    "FIENet",
    "FisherInformationEmbedding",
    "GraRep",
    "HOPE",
    "HyperbolicMDS",
    "known_k",
    "LINE",
    "NetMF",
    "Node2Vec",
    "NodeEmbedding",
    "poincare_distance",
    "PoincareEmbedding",
    "predict_links",
    "ProNE",
    "RandNE",
    "SarkarEmbedding",
    "spectral_propagate",
    "split_links",
    "SupervisedFIE",
    "Walklets",
]
