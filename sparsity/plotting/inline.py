"""SVG files of figures as parts of a page: one colour scheme, no identifier twice, marks that say whose they are."""

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sparsity.formatting import key
from sparsity.plotting.marks import KINDS, LEGEND, ON_COLOUR, key_of

_REFERENCE = re.compile(r"(?<=url\(#)[^)]+(?=\))")
_COLOUR = re.compile(r"#[0-9a-f]{6}(?![0-9a-zA-Z])")
_NOT_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FONT = re.compile(r"font-family:[^;]*;?|(?<=px) '[^;]*")
_PAINTED = ("style", "fill", "stroke")


def inline_svg(svg: bytes, prefix: str, owners: Mapping[str, str], label: str, picture: bytes | None = None) -> str:
    """An SVG element for a page.

    Colours are variables of the page, `var(--c-0072b2,#0072b2)`, which it may set for dark; text has the page's font.
    Marks and drawings that belong to methods have their names in `data-of`, as `sparsity.formatting.key` writes it.

    Args:
        svg: A figure, from `figure_bytes`.
        prefix: Before identifiers, another one for each figure of a page.
        owners: The method of each network that is drawn, and each method's own.
        label: What is read out instead of it.
        picture: The figure as PNG, to be seen instead of a drawing that is too large; what a pointer finds is kept.
    """
    root = ElementTree.fromstring(_NOT_XML.sub(b"?", svg))
    _drop(root, ("metadata", "style"))
    width, height = (root.get(side, "").removesuffix("pt") for side in ("width", "height"))
    if picture is not None:
        source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        seen = Element("image", {"width": width, "height": height, "href": source})
        root[:] = [seen, *(element for element in root.iter() if element.get("class") in KINDS)]
    _rewrite(root, prefix, _referred(root), owners, own_colours=False)
    shape = {"viewBox": root.get("viewBox", ""), "width": f"{float(width) * 96 / 72:.0f}"}
    root.attrib = {**shape, "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _drop(element: Element, tags: tuple[str, ...]) -> None:
    """Take elements out: what they hold would be the page's."""
    element[:] = [child for child in element if _local(child.tag) not in tags]
    for child in element:
        _drop(child, tags)


def _rewrite(element: Element, prefix: str, referred: set[str], owners: Mapping[str, str], own_colours: bool) -> None:
    """Rename, recolour and shorten an element and what is in it."""
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    name = attributes.pop("id", "")
    own_colours = own_colours or name == ON_COLOUR
    if (names := key_of(name)) is not None:
        attributes["data-of"] = names
    elif name in (LEGEND, ON_COLOUR):
        attributes["class"] = name
    elif name in referred:
        attributes["id"] = prefix + name
    if "data-of" in attributes:
        owned = [owners[one] for one in map(unquote, attributes["data-of"].split()) if one in owners]
        attributes["data-of"] = key(*dict.fromkeys(owned))
    element.attrib = {
        attribute: _short(attribute, value, prefix, own_colours) for attribute, value in attributes.items() if value
    }
    element.text = element.text if (element.text or "").strip() else None
    for child in element:
        _rewrite(child, prefix, referred, owners, own_colours)
        child.tail = child.tail if (child.tail or "").strip() else None


def _referred(root: Element) -> set[str]:
    """The identifiers that something needs: of clips, hatches and repeated shapes."""
    values = [(_local(name), value) for element in root.iter() for name, value in element.attrib.items()]
    links = {value.removeprefix("#") for name, value in values if name == "href"}
    return links.union(*(_REFERENCE.findall(value) for _, value in values))


def _short(attribute: str, value: str, prefix: str, own_colours: bool) -> str:
    """A value as a page has it, and without what says nothing."""
    if attribute == "d":
        return " ".join(value.split())
    if attribute == "href":
        return f"#{prefix}{value[1:]}" if value.startswith("#") else "".join(value.split())
    value = _REFERENCE.sub(lambda found: prefix + found[0], value)
    if attribute not in _PAINTED:
        return value
    value = _FONT.sub("", value).replace("font:", "font-size:")  # matplotlib below 3.11 writes it in one
    value = value if own_colours else _COLOUR.sub(lambda found: f"var(--c-{found[0][1:]},{found[0]})", value)
    return value.replace("; ", ";").replace(": ", ":").strip()


def _local(name: str) -> str:
    """A name without its namespace, as pages have it."""
    return name.rsplit("}", 1)[-1]
