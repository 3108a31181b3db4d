"""The report of a training run: one self-contained html page, made from the files of the run directory.

The page asks nothing of a network, reads well without scripts, and follows the reader's light or dark
setting. :func:`write_report` is the one entry; ``python -c`` or a notebook may call it again at any time.
"""

from __future__ import annotations

from gnnlib.train.report.write import write_report

__all__ = ["write_report"]
