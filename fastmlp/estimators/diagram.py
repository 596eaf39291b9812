"""A network as a picture in HTML: layers of units and what lies between them."""

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp.estimators.summary import Summary

MOST_UNITS = 8  # are drawn of a layer; of more, so many less two, with a gap
APART, BETWEEN, RADIUS = 26, 150, 8  # pixels: from unit to unit, from layer to layer, of a unit
MARGIN = 70  # beside the first and the last layer, for the words below them
LINE = 16


def network_html(summary: "Summary") -> str:
    """Return an inline SVG of a network, in the colour of the text around it, without scripts.

    Parameters
    ----------
    summary : Summary
        What to draw.

    Returns
    -------
    str
    """
    first = summary.layers[0]
    columns = [("input", first.n_inputs, "")]
    columns += [(layer.name, layer.n_outputs, layer.activation) for layer in summary.layers]
    middle = (min(MOST_UNITS, max(units for _, units, _ in columns)) - 1) * APART / 2 + RADIUS + 4
    places = [_places(units, middle) for _, units, _ in columns]
    x = [MARGIN + BETWEEN * column for column in range(len(columns))]
    width, height = 2 * MARGIN + BETWEEN * (len(columns) - 1), 2 * middle + 3.5 * LINE
    title = escape(
        f"{summary.estimator}: {summary.inputs}, {summary.n_parameters:,} parameters, "
        f"{summary.n_multiply_adds:,} multiply-adds a row"
    )
    parts = [
        '<div class="fastmlp-network" style="overflow-x: auto; margin-top: 0.5em; color: inherit;">',
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height:g}" '
        f'viewBox="0 0 {width} {height:g}" fill="currentColor" font-family="sans-serif" font-size="12" '
        'text-anchor="middle">',
        f"<title>{title}</title>",
    ]
    for (left, right), (inputs, outputs) in zip(pairwise(x), pairwise(places), strict=True):
        lines = "".join(f"M{left + RADIUS} {start:g}L{right - RADIUS} {end:g}" for start in inputs for end in outputs)
        parts.append(f'<path d="{lines}" stroke="currentColor" stroke-opacity="0.25" fill="none"/>')
    for column, (name, units, activation) in enumerate(columns):
        circle = (
            f'<circle cx="{x[column]}" r="{RADIUS}" stroke="currentColor" fill="currentColor" fill-opacity="0.15" cy='
        )
        parts += [f'{circle}"{y:g}"/>' for y in places[column]]
        if units > MOST_UNITS:
            parts.append(f'<text x="{x[column]}" y="{middle + 4:g}">&#8942;</text>')
        for line, text in enumerate((name, f"{units:,}", activation)):
            weight = ' font-weight="bold"' if line == 0 else ""
            y = 2 * middle + LINE * (line + 1)
            parts.append(f'<text x="{x[column]}" y="{y:g}"{weight}>{escape(_short(text))}</text>')
    return "\n".join([*parts, "</svg>", f'<div style="font-size: 12px;">{title}</div>', "</div>"])


def _places(units: int, middle: float) -> list[float]:
    """Return the heights at which the units of a layer are drawn; the middle one of many is left out, for a gap."""
    drawn = min(units, MOST_UNITS)
    top = middle - (drawn - 1) * APART / 2
    return [top + APART * place for place in range(drawn) if units <= MOST_UNITS or place not in _gap(drawn)]


def _gap(drawn: int) -> set[int]:
    return {(drawn - 1) // 2, drawn // 2}


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:19]}\N{HORIZONTAL ELLIPSIS}"
