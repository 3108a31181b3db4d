"""What a trained model does, as numbers: how far it looks, how it smooths, how it generalises."""

from gnnlib.measure.by_hop import InfluenceByHop
from gnnlib.measure.expressivity import Told, count_classes, distinguished, path_classes, wl_classes
from gnnlib.measure.families import Family, counterexamples
from gnnlib.measure.gap import GapCurve, generalisation_gap
from gnnlib.measure.influence import influence
from gnnlib.measure.smoothing import LayerEnergy, dirichlet_energy, smoothing
from gnnlib.measure.squashing import effective_resistance, sensitivity

__all__ = [
    "count_classes",
    "counterexamples",
    "dirichlet_energy",
    "distinguished",
    "effective_resistance",
    "Family",
    "GapCurve",
    "generalisation_gap",
    "influence",
    "InfluenceByHop",
    "LayerEnergy",
    "path_classes",
    "sensitivity",
    "smoothing",
    "Told",
    "wl_classes",
]
