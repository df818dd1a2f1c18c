"""The font of PDF files: matplotlib's own without its layout tables, whose parsing takes most of a small PDF's time."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib import font_manager

_LAYOUT = ("GDEF", "GPOS", "GSUB", "MATH", "kern", "FFTM")
_FAMILY_NAMES = (1, 4, 16)


@cache
def lean_font() -> str:
    """A family with the letters of DejaVu Sans and no rules to place pairs of them, for `font.sans-serif`.

    Normal and bold, made once in a process within a fifth of a second; every PDF then takes less than half its time.
    """
    family = "DejaVu Sans lean"
    folder = tempfile.mkdtemp(prefix="sparsity-font-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for weight in ("normal", "bold"):
        file = str(Path(folder) / f"{weight}.ttf")
        found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
        # As old as the original: a time of its own would be in every PDF.
        with TTFont(found, recalcTimestamp=False) as font:
            for table in _LAYOUT:
                if table in font:
                    del font[table]
            for name in font["name"].names:
                if name.nameID in _FAMILY_NAMES:
                    name.string = family
            font.save(file)
        font_manager.fontManager.addfont(file)
    return family
