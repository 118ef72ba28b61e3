"""A figure as a file, or as SVG inside a page: readable text, colours from the page."""

from __future__ import annotations

import html
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from rpstheory.errors import DataError
from rpstheory.report.figures.style import DARK, styled
from rpstheory.report.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_DATES = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
VARIABLES = {color: f"--c{number}" for number, color in enumerate(DARK)}


@styled
def save(figure: Figure, path: Path | str) -> None:
    """Write a figure whole or not at all; the same figure gives the same bytes.

    Args:
        figure: Any figure.
        path: Ends in .png, .svg or .pdf.

    Raises:
        DataError: If the path ends otherwise or cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise DataError(f"figure: {path} ends in {suffix!r}; choose one of {', '.join(FORMATS)}")
    out = BytesIO()
    figure.savefig(out, format=suffix[1:], metadata=_DATES[suffix])
    write_bytes(path, out.getvalue(), "figure")


@styled
def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """A figure as SVG for the body of a page: no address, no font, no fixed colour.

    Args:
        figure: Any figure of this package.
        name: Begins every id, so that several figures live in one page.
        title: What it shows, in a few words.
        description: What a reader who does not see it should know.

    Returns:
        One ``<svg role="img">`` element; its colours are the CSS variables of ``VARIABLES``.
    """
    import matplotlib as mpl

    out = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg", transparent=True, metadata=_DATES[".svg"])
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r" ?font-family: [^;\"]*;?", "", body)
    body = re.sub(r'="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    body = re.sub(r">\s+<", "><", body)
    size = box[1] if box else "0 0 1 1"
    width = float(size.split()[2])
    return (
        f'<svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="{size}" '
        f'style="width:{width * 4 / 3:.0f}px">'
        f'<title id="{name}-t">{html.escape(title)}</title>'
        f'<desc id="{name}-d">{html.escape(description)}</desc>{body}</svg>'
    )
