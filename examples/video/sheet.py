"""A contact sheet: stills of several clips in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

__all__ = ["write_sheet"]

WIDTH = 480
"""Width of one still, in pixels."""


def write_sheet(rows: list[list[str]], path: Path) -> None:
    """Write a PNG with a row of stills for each clip.

    Args:
        rows: paths of the stills.
        path: where to.
    """
    lines = []
    for row in rows:
        cells = [_cell(cv2.imread(still)) for still in row]
        lines.append(np.hstack(cells))
    wide = max(line.shape[1] for line in lines)
    padded = [cv2.copyMakeBorder(line, 0, 0, 0, wide - line.shape[1], cv2.BORDER_CONSTANT) for line in lines]
    cv2.imwrite(str(path), np.vstack(padded))


def _cell(still: Any) -> Any:
    height = round(still.shape[0] * WIDTH / still.shape[1])
    return cv2.resize(still, (WIDTH, height), interpolation=cv2.INTER_AREA)
