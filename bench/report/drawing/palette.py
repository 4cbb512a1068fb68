"""Colours, dashes and markers of what is drawn: each tells its row without the others.

The first six colours lie 14 apart or more in CIELAB for normal, deuteranope and protanope eyes (Machado et al. 2009),
the second six, which are dashed, 11; all have a contrast of 3 or more with the page they stand on.
"""

PALETTE = (
    "#0069a8", "#d55e00", "#009270", "#c05a98", "#333333", "#3a9ad6",
    "#5b2a86", "#9c7a00", "#6f6f6f", "#a11420", "#1f5f2a", "#22a09b",
)  # fmt: skip
DARK = (
    "#4a9fe0", "#f0833a", "#2fc49a", "#e08cbf", "#e8e6e1", "#9ad4f5",
    "#b08be6", "#d9b640", "#9a9a9a", "#ff6f73", "#8fd49b", "#5fd6d0",
)  # fmt: skip
_DASHES = ("", "5 3", "1.5 2.5", "8 3 1.5 3")
_MARKERS = ("circle", "square", "triangle", "diamond", "nabla", "cross")


def css_class(colour: int) -> str:
    """Class that sets the custom property `--c` to a colour of the palette."""
    return f"c{colour % len(PALETTE)}"


def colour_rules(colours: tuple[str, ...]) -> str:
    """One CSS rule a colour, for `css_class`."""
    return "".join(f".c{i}{{--c:{colour}}}" for i, colour in enumerate(colours))


def dash(colour: int) -> str:
    """Attribute of a line: solid for the first six rows, dashed for the next, and so on."""
    pattern = _DASHES[colour // 6 % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def marker(colour: int, x: float, y: float, size: float = 3.6) -> str:
    """Path data of a row's marker; neighbours in colour differ in shape."""
    s = size
    kind = _MARKERS[(colour + colour // 6) % len(_MARKERS)]
    if kind == "circle":
        return f"M{x - s:.1f} {y:.1f}a{s} {s} 0 1 0 {2 * s:g} 0a{s} {s} 0 1 0 {-2 * s:g} 0z"
    if kind == "square":
        s *= 0.88
        return f"M{x - s:.1f} {y - s:.1f}h{2 * s:.2f}v{2 * s:.2f}h{-2 * s:.2f}z"
    if kind == "diamond":
        s *= 1.25
        return f"M{x:.1f} {y - s:.1f}l{s:.2f} {s:.2f}l{-s:.2f} {s:.2f}l{-s:.2f} {-s:.2f}z"
    if kind == "cross":
        a = s * 0.42
        steps = (2 * a, s - a, s - a, 2 * a, a - s, s - a, -2 * a, a - s, a - s, -2 * a, s - a)
        path = "".join(f"{'vh'[i % 2 == 0]}{step:.2f}" for i, step in enumerate(steps))
        return f"M{x - a:.1f} {y - s:.1f}{path}z"
    up = 1 if kind == "triangle" else -1
    return f"M{x:.1f} {y - 1.15 * s * up:.1f}l{1.15 * s:.2f} {2 * s * up:.2f}h{-2.3 * s:.2f}z"


def swatch(colour: int) -> str:
    """A row's line and marker for a legend."""
    return (
        f'<svg class="swatch {css_class(colour)}" viewBox="0 0 28 10" aria-hidden="true">'
        f'<path class="line" d="M0 5H28"{dash(colour)}/><path class="dot" d="{marker(colour, 14, 5)}"/></svg>'
    )
