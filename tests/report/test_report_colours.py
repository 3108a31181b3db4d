"""The colours of the page: contrast in both modes, and classes that colour-blind readers tell apart."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

CSS = files("gnnlib.train.report").joinpath("page.css").read_text(encoding="utf-8")
LIGHT = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})\b", CSS.split("@media")[0]))
DARK = LIGHT | dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})\b", CSS.split("@media")[1]))
MODES = pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])

# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear sRGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> np.ndarray:
    s = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = sorted(float(weights @ linear(c)) for c in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


def oklab(rgb: np.ndarray) -> np.ndarray:
    lms = np.array(
        [
            [0.41222147, 0.53633254, 0.05144599],
            [0.21190350, 0.68069955, 0.10739696],
            [0.08830246, 0.28171884, 0.62997870],
        ]
    ) @ np.clip(rgb, 0, 1)
    to_lab = np.array(
        [
            [0.21045426, 0.79361779, -0.00407205],
            [1.97799850, -2.42859221, 0.45059371],
            [0.02590404, 0.78277177, -0.80867577],
        ]
    )
    return to_lab @ np.cbrt(lms)


@MODES
def test_text_and_marks_stand_out(colours: dict[str, str]) -> None:
    for surface in ("page", "card"):
        assert contrast(colours["ink"], colours[surface]) >= 7
        assert contrast(colours["soft"], colours[surface]) >= 4.5
        assert contrast(colours["accent"], colours[surface]) >= 4.5
    for mark in ("train", "val", "neg", "pos", "star", "none", *(f"k{k}" for k in range(10))):
        assert contrast(colours[mark], colours["card"]) >= 3, mark
    assert contrast(colours["ink"], colours["grid"]) >= 7


@MODES
@pytest.mark.parametrize("sight", SIGHT)
def test_curves_and_classes_are_told_apart(colours: dict[str, str], sight: str) -> None:
    seen = {name: oklab(SIGHT[sight] @ linear(value)) for name, value in colours.items() if name != "line"}
    assert np.linalg.norm(seen["train"] - seen["val"]) > 0.15
    # A class's shape is its number modulo 4, so only classes of the same shape need colours apart.
    close = [
        (a, b, round(float(np.linalg.norm(seen[f"k{a}"] - seen[f"k{b}"])), 3))
        for a, b in itertools.combinations(range(10), 2)
        if a % 4 == b % 4
    ]
    assert min(d for *_, d in close) > 0.06, sorted(close, key=lambda c: c[2])[:4]
