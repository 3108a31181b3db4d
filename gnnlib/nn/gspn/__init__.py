"""Graph-induced sum-product networks: exact probabilities of node attributes, missing ones included."""

from gnnlib.nn.gspn.classifier import GSPNClassifier, GSPNReadout
from gnnlib.nn.gspn.model import GSPN

__all__ = ["GSPN", "GSPNClassifier", "GSPNReadout"]
