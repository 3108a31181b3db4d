"""What a trained model does, as numbers: how far it looks, how it smooths, how it generalises."""

from gnnlib.measure.gap import GapCurve, generalisation_gap
from gnnlib.measure.influence import InfluenceByHop, influence
from gnnlib.measure.smoothing import LayerEnergy, dirichlet_energy, smoothing
from gnnlib.measure.squashing import effective_resistance, sensitivity

__all__ = [
    "dirichlet_energy",
    "effective_resistance",
    "GapCurve",
    "generalisation_gap",
    "influence",
    "InfluenceByHop",
    "LayerEnergy",
    "sensitivity",
    "smoothing",
]
