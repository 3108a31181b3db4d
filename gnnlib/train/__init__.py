"""Training: a config, a loop that can be broken off and resumed, and a run directory with the evidence.

>>> from gnnlib.train import configure, run
>>> result = run(configure("cora", "gcn", seeds=10))
>>> result.mean("test")
"""

from __future__ import annotations

from gnnlib.accel.graphed import GraphedStep
from gnnlib.train.config import TrainConfig, configure
from gnnlib.train.experiment import run
from gnnlib.train.interrupt import Interrupted
from gnnlib.train.predict import predict
from gnnlib.train.progress import LiveProgress, PlainProgress, Progress, progress_on
from gnnlib.train.result import Result

__all__ = [
    "configure",
    "GraphedStep",
    "Interrupted",
    "LiveProgress",
    "PlainProgress",
    "predict",
    "Progress",
    "progress_on",
    "Result",
    "run",
    "TrainConfig",
]
