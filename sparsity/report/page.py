"""A report as one HTML page that loads nothing: text in, text out, every name escaped.

How it looks is in `templates/`. The functions here give HTML, and take as such what they gave; other text is escaped.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from sparsity.formatting import key, percent
from sparsity.html import templates
from sparsity.report.tables import Table

_TEMPLATES = templates("sparsity.report")
_TEMPLATES.filters |= {"key": key, "keys": lambda names: key(*names), "plain": "{:g}".format, "percent": percent}
_BLOCKS: Any = _TEMPLATES.get_template("blocks.html").module


class Section(NamedTuple):
    """A heading and what stands under it.

    Args:
        key: Its anchor.
        title: Also in the table of contents.
        blocks: HTML, from the functions here.
    """

    key: str
    title: str
    blocks: Sequence[str]


class Choices(NamedTuple):
    """What a reader can choose to see.

    Args:
        methods: Those that can be hidden.
        densities: One is seen at a time.
        layers: One can be looked at alone.
    """

    methods: Sequence[str] = ()
    densities: Sequence[float] = ()
    layers: Sequence[str] = ()


def page(title: str, lead: Sequence[str], sections: Sequence[Section], foot: str, choices: Choices) -> str:
    """The whole page; without scripts, everything on it is seen.

    Args:
        title: Above everything.
        lead: What the report is of and what it shows, in paragraphs.
        sections: In order; those without blocks are left out.
        foot: Who made it.
        choices: For the reader.
    """
    shown = [section for section in sections if section.blocks]
    return _TEMPLATES.get_template("page.html").render(
        title=title, lead=lead, sections=shown, foot=foot, choices=choices
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return _html("paragraph", text)


def table(content: Table) -> str:
    """A table that scrolls on its own where the page is narrow."""
    return _html("table", content)


def at(density: float, *blocks: str) -> str:
    """What is of one density only, and seen where that is chosen.

    Args:
        density: In [0, 1].
        blocks: HTML, from the functions here.
    """
    return _html("at", density, blocks)


def columns(blocks: Sequence[str]) -> str:
    """Blocks side by side, where there is room for two."""
    return _html("columns", blocks)


def figures(title: str, caption: str, drawn: Sequence[str]) -> str:
    """Figures of one kind.

    Args:
        title: What they show.
        caption: How they are read.
        drawn: HTML of each, from `figure`.
    """
    return _html("figures", title, caption, drawn)


def figure(drawing: str, title: str, label: str, pdf: str, density: float | None) -> str:
    """One figure, within the page.

    Args:
        drawing: HTML, from `sparsity.plotting.inline.inline_svg`.
        title: What it shows.
        label: Of which networks.
        pdf: Its file beside the page.
        density: Of the networks; None where they have several.
    """
    return _html("figure", Markup(drawing), title, label, pdf, density)


def items(texts: Sequence[str]) -> str:
    """A list of plain texts."""
    return _html("items", texts)


def code(text: str) -> str:
    """Text to be copied: commands, or a file."""
    return _html("code", text)


def details(title: str, *blocks: str) -> str:
    """What is folded away until it is asked for.

    Args:
        title: What is shown of it.
        blocks: HTML, from the functions here.
    """
    return _html("details", title, blocks)


def _html(macro: str, *arguments: object) -> str:
    """What a macro gives: text that is marked as HTML, which templates do not escape again."""
    html: str = getattr(_BLOCKS, macro)(*arguments)
    return html
