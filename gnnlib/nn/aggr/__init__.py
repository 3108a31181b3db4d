"""Aggregations: one vector for each set of elements, one file for each or for a family."""

from gnnlib.nn.aggr.attentional import AttentionalAggregation
from gnnlib.nn.aggr.attsets import AttSetsAggregation, FASetPhases
from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.aggr.basic import (
    MaxAggregation,
    MeanAggregation,
    MinAggregation,
    MulAggregation,
    StdAggregation,
    SumAggregation,
    VarAggregation,
)
from gnnlib.nn.aggr.deep_sets import DeepSetsAggregation
from gnnlib.nn.aggr.gem import GeMAggregation, GGeMAggregation
from gnnlib.nn.aggr.gmt import GraphMultisetTransformer
from gnnlib.nn.aggr.lcm import LCMAggregation, commutativity_regulariser, monoid_regulariser
from gnnlib.nn.aggr.multi import MultiAggregation
from gnnlib.nn.aggr.powermean import PowerMeanAggregation
from gnnlib.nn.aggr.quantile import MedianAggregation, QuantileAggregation
from gnnlib.nn.aggr.recurrent import GRUAggregation, LSTMAggregation
from gnnlib.nn.aggr.resolver import aggregation_resolver
from gnnlib.nn.aggr.scaler import DegreeScalerAggregation
from gnnlib.nn.aggr.set2set import Set2Set
from gnnlib.nn.aggr.set_transformer import SetTransformerAggregation
from gnnlib.nn.aggr.softmax import SoftmaxAggregation
from gnnlib.nn.aggr.sort import SortAggregation
from gnnlib.nn.aggr.variance_preserving import VariancePreservingAggregation

__all__ = [
    "Aggregation",
    "aggregation_resolver",
    "AttentionalAggregation",
    "AttSetsAggregation",
    "commutativity_regulariser",
    "DeepSetsAggregation",
    "DegreeScalerAggregation",
    "FASetPhases",
    "GeMAggregation",
    "GGeMAggregation",
    "GraphMultisetTransformer",
    "GRUAggregation",
    "LCMAggregation",
    "LSTMAggregation",
    "MaxAggregation",
    "MeanAggregation",
    "MedianAggregation",
    "MinAggregation",
    "monoid_regulariser",
    "MulAggregation",
    "MultiAggregation",
    "PowerMeanAggregation",
    "QuantileAggregation",
    "Set2Set",
    "SetTransformerAggregation",
    "SoftmaxAggregation",
    "SortAggregation",
    "StdAggregation",
    "SumAggregation",
    "VarAggregation",
    "VariancePreservingAggregation",
]
