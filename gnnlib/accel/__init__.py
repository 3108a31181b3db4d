"""``accelerate(model)``: the layers of a PyG model on the sparse core, in place and reversibly."""

from gnnlib.accel.report import Layer, layers
from gnnlib.accel.swap import accelerate, decelerate

__all__ = ["accelerate", "decelerate", "Layer", "layers"]
