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

    Made once in a process, within a tenth of a second; every PDF then takes less than half of its time.
    """
    family = "DejaVu Sans lean"
    folder = tempfile.mkdtemp(prefix="sparsity-font-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = str(Path(folder) / "lean.ttf")
    # As old as the original: a time of its own would be in every PDF.
    with TTFont(font_manager.findfont("DejaVu Sans"), recalcTimestamp=False) as font:
        for table in _LAYOUT:
            if table in font:
                del font[table]
        for name in font["name"].names:
            if name.nameID in _FAMILY_NAMES:
                name.string = family
        font.save(file)
    font_manager.fontManager.addfont(file)
    return family
