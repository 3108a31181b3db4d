"""What a trained model does, as numbers: how far it looks, how it smooths, how it generalises."""

from gnnlib.measure.influence import InfluenceByHop, influence

__all__ = ["influence", "InfluenceByHop"]
