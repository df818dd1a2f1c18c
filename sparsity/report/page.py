"""A report as one HTML page that loads nothing: text in, text out, every name escaped."""

import base64
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Literal, NamedTuple

from sparsity.report.tables import Table


class Section(NamedTuple):
    """A heading and what stands under it.

    Args:
        key: Its anchor.
        title: Also in the table of contents.
        blocks: HTML.
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
    contents = "\n".join(f'<li><a href="#{section.key}">{escape(section.title)}</a></li>' for section in shown)
    body = "\n".join(
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">\n'
        f'<h2 id="{section.key}-title">{escape(section.title)}</h2>\n' + "\n".join(section.blocks) + "\n</section>"
        for section in shown
    )
    return _PAGE.substitute(
        title=escape(title), lead=escape(lead), contents=contents, body=body, foot=escape(foot), style=_STYLE
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(content: Table) -> str:
    """A table that scrolls on its own where the page is narrow."""
    numbers = ["" if column in content.words else ' class="number"' for column in content.columns]
    head = "".join(f'<th scope="col"{n}>{escape(c)}</th>' for c, n in zip(content.columns, numbers, strict=True))
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{number}>{escape(cell)}</td>" for cell, number in zip(row[1:], numbers[1:], strict=True))
        + "</tr>"
        for row in content.rows
    )
    caption = escape(content.caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>\n'
        f"<caption><span>{caption}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def figures(title: str, caption: str, drawn: Sequence[str]) -> str:
    """Figures of one kind.

    Args:
        title: What they show.
        caption: How they are read.
        drawn: HTML of each, from `figure`.
    """
    together = "\n".join(drawn)
    return f'<h3>{escape(title)}</h3>\n<p>{escape(caption)}</p>\n<div class="figures">\n{together}\n</div>'


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
    alt = escape(f"{title}, {label}")
    return (
        f'<figure><div class="scroll" role="region" tabindex="0" aria-label="{alt}">'
        f'<img alt="{alt}" width="{96 * width:.0f}" src="{source}"></div>\n'
        f'<figcaption><span>{escape(label)}</span> <a href="{escape(pdf)}">PDF</a></figcaption></figure>'
    )


def items(texts: Sequence[str]) -> str:
    """A list of plain texts."""
    return "<ul>\n" + "\n".join(f"<li>{escape(text)}</li>" for text in texts) + "\n</ul>"


def code(text: str) -> str:
    """Text to be copied: commands, or a file."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def details(title: str, *blocks: str) -> str:
    """What is folded away until it is asked for."""
    return f"<details><summary>{escape(title)}</summary>\n" + "\n".join(blocks) + "\n</details>"


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<nav aria-label="Contents">
<ul>
$contents
</ul>
</nav>
<main>
<header>
<h1>$title</h1>
<p>$lead</p>
</header>
$body
<footer><p>$foot</p></footer>
</main>
</body>
</html>
""")

_STYLE = """\
:root {
  color-scheme: light dark;
  --text: #1d2329; --soft: #5b6672; --page: #fbfbfa; --card: #fff; --line: #dcdfe3; --link: #0b5c94; --shade: #f1f3f4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #dfe3e7; --soft: #9ba5b0; --page: #15181c; --line: #353b42; --link: #74b9ea;
    --shade: #1f2429;
  }
  figure { filter: brightness(0.92); }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; max-width: 110rem; display: grid; grid-template-columns: 12rem minmax(0, 1fr);
  font: 1rem/1.55 system-ui, sans-serif; color: var(--text); background: var(--page);
}
main { padding: 2rem 2.5rem 4rem; }
nav { position: sticky; top: 0; align-self: start; padding: 2.4rem 0 0 1.5rem; font-size: 0.9rem; }
nav ul { list-style: none; margin: 0; padding: 0; border-left: 1px solid var(--line); }
nav a { display: block; padding: 0.2rem 0.9rem; color: var(--soft); text-decoration: none; }
nav a:hover, nav a:focus { color: var(--link); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 0.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 0; }
p, ul { max-width: 46rem; margin: 0.3rem 0 0.9rem; overflow-wrap: anywhere; }
header p { color: var(--soft); }
a { color: var(--link); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; margin: 0.5rem 0 1rem; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.4rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(46rem, 100vw - 2rem); }
th, td { padding: 0.3rem 1rem 0.3rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 600; }
.number { text-align: right; }
.figures { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; }
figure .scroll { padding: 0.6rem 0.6rem 0; }
img { display: block; max-width: 100%; height: auto; }
figcaption {
  display: flex; justify-content: space-between; gap: 1rem; padding: 0.2rem 0.9rem 0.5rem;
  color: #4d5761; font-size: 0.88rem;
}
figcaption a { color: #0b5c94; }
pre { overflow-x: auto; padding: 0.8rem 1rem; background: var(--shade); border-radius: 0.4rem; font-size: 0.85rem; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--link); }
footer { margin-top: 3rem; color: var(--soft); font-size: 0.85rem; }
@media (max-width: 60rem) {
  body { display: block; }
  main { padding: 1rem 1rem 3rem; }
  nav { z-index: 1; padding: 0; background: var(--page); border-bottom: 1px solid var(--line); }
  nav ul { display: flex; overflow-x: auto; border: 0; }
  nav a { padding: 0.7rem; white-space: nowrap; }
  html { scroll-padding-top: 3.5rem; }
  img { max-width: max(100%, 30rem); }
}
"""
