"""A report as one HTML page that loads nothing: text in, text out, every name escaped.

How it looks is in `templates/`. The functions here give HTML, and take as such what they gave; other text is escaped.
"""

import base64
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparsity.report.tables import Table

_TEMPLATES = Environment(
    loader=PackageLoader("sparsity.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
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


def page(title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """The whole page.

    Args:
        title: Above everything.
        lead: What the report is of.
        sections: In order; those without blocks are left out.
        foot: Who made it.
    """
    shown = [section for section in sections if section.blocks]
    return _TEMPLATES.get_template("page.html").render(title=title, lead=lead, sections=shown, foot=foot)


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return _html("paragraph", text)


def table(content: Table) -> str:
    """A table that scrolls on its own where the page is narrow."""
    return _html("table", content)


def figures(title: str, caption: str, drawn: Sequence[str]) -> str:
    """Figures of one kind.

    Args:
        title: What they show.
        caption: How they are read.
        drawn: HTML of each, from `figure`.
    """
    return _html("figures", title, caption, drawn)


def figure(image: bytes, kind: Literal["svg", "png"], width: float, title: str, label: str, pdf: str) -> str:
    """One figure, within the page.

    Args:
        image: The figure.
        kind: Of image.
        width: In inches.
        title: What it shows.
        label: Of which networks.
        pdf: Its file beside the page.
    """
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    source = f"data:{mime};base64,{base64.b64encode(image).decode()}"
    return _html("figure", source, f"{96 * width:.0f}", title, label, pdf)


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
