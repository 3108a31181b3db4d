"""Measurements against PyG and others on this machine: cases, peers, a table, a picture and json."""

from __future__ import annotations

from gnnlib.bench.cases import CASES, Case, Targets
from gnnlib.bench.results import Outcome, Report
from gnnlib.bench.runner import Plan, run

__all__ = ["Case", "CASES", "Outcome", "Plan", "Report", "run", "Targets"]
