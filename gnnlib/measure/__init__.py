"""What a trained model does, as numbers: how far it looks, how it smooths, how it generalises."""

from gnnlib.measure.influence import Influence, influence

__all__ = ["Influence", "influence"]
