"""A claim's formula, written in mathtext, as Unicode text and as an inline SVG drawing."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_SYMBOLS = {
    "langle": "⟨", "rangle": "⟩", "sum": "Σ", "prod": "Π", "int": "∫", "sup": "sup", "inf": "inf",
    "min": "min", "max": "max", "exp": "exp", "log": "log", "ln": "ln", "det": "det", "Pr": "Pr",
    "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "equiv": "≡",
    "leftarrow": "←", "rightarrow": "→", "to": "→", "Rightarrow": "⇒", "Leftrightarrow": "⇔",
    "iff": "⇔", "mapsto": "↦", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪",
    "cap": "∩", "forall": "∀", "exists": "∃", "infty": "∞", "partial": "∂", "nabla": "∇", "pm": "±",
    "times": "×", "cdot": "·", "ast": "*", "circ": "∘", "prime": "′", "top": "ᵀ", "ldots": "…",
    "dots": "…", "cdots": "⋯", "mid": "|", "vert": "|", "Vert": "‖", "lfloor": "⌊", "rfloor": "⌋",
    "lceil": "⌈", "rceil": "⌉", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε",
    "varepsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ",
    "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "ell": "ℓ", "bmod": " mod ", "quad": "\u2003",
    "qquad": "\u2003", "left": "", "right": "", "big": "", "Big": "", "bigg": "", "limits": "", "sim": "~",
    "perp": "⊥", "dagger": "†", "setminus": "∖", "emptyset": "∅", "propto": "∝", "ll": "≪", "gg": "≫",
    "lessgtr": "≶",
}  # fmt: skip
_RELATIONS = frozenset("≤≥≠≈≡←→⇒⇔↦∈∉⊂⊆∝≪≫~")
_SPACES = {",": " ", ";": " ", ":": " ", "!": "", " ": " ", "|": "‖", "\\": "; ", "/": ""}
_ACCENTS = {"bar": "\u0304", "overline": "\u0304", "hat": "\u0302", "tilde": "\u0303", "widehat": "\u0302"}
_FONTS = {"mathrm", "text", "mathbf", "mathbb", "mathcal", "mathit", "mathsf", "operatorname", "rm"}
_HIGH = dict(zip("0123456789+-−=()niT*ᵀ′", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱᵀ*ᵀ′", strict=True))
_LOW = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
_FRACTIONS = ("frac", "dfrac", "tfrac")
_NEEDS_SPACE = frozenset("ΣΠ∫√[⟨") | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_TOKEN = re.compile(r"\\([A-Za-z]+)(?:\s(?=[A-Za-z]))?|\\(.)|([{}_^])|(.)", re.DOTALL)
_EM = 20.0


def formula_text(tex: str) -> str:
    r"""A mathtext formula as Unicode text.

    Args:
        tex: Without the dollar signs, e.g. ``\frac{n}{m} \sum_i x_i^2``.

    Returns:
        One line, e.g. ``n/m Σᵢ xᵢ²``; subscripts without a character of their own stay as ``_(…)``.
    """
    tokens = [m.groups() for m in _TOKEN.finditer(tex)]
    text, _ = _sequence(tokens, 0)
    text = re.sub(r" *\u2003[ \u2003]*", "  ", re.sub(r" +", " ", text)).strip()
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=256)
def formula_html(tex: str) -> str:
    """A mathtext formula as inline SVG in the colour of the text, its TeX as the accessible name.

    Args:
        tex: Without the dollar signs. A formula of several statements is broken at its quads.

    Returns:
        HTML; the TeX as code where matplotlib cannot parse it.
    """
    whole = _drawn(tex)
    label = html.escape(formula_text(tex))
    if whole is None:
        return f'<p class="formula"><code>{html.escape(tex)}</code></p>'
    lines = [whole]
    pieces = [p.strip(" ,") for p in re.split(r"\\q?quad|\n", tex) if p.strip(" ,")]
    if whole[1] > 34 and len(pieces) > 1:
        lines = [d for d in map(_drawn, pieces) if d is not None] or lines
    drawings = "".join(svg for svg, _ in lines)
    return (
        f'<p class="formula" role="math" aria-label="{label}">'
        f'<span title="{html.escape(tex)}">{drawings}</span></p>'
    )


def _drawn(tex: str) -> tuple[str, float] | None:
    """SVG of one line, and its width in em; None if the formula does not parse."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    try:
        with matplotlib.rc_context({"mathtext.fontset": "cm"}):
            path = TextPath((0, 0), f"${tex}$", size=_EM, prop=FontProperties(family="DejaVu Sans"))
    except ValueError:
        return None
    box = path.get_extents()
    x, y, width, height = box.x0 - 0.5, -box.y1 - 0.5, box.width + 1, box.height + 1
    commands = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        numbers = [] if code == 79 else [v if i % 2 == 0 else -v for i, v in enumerate(points)]
        parts.append(commands[int(code)] + " ".join(map(_short, numbers)).replace(" -", "-"))
    return (
        f'<svg aria-hidden="true" viewBox="{x:.2f} {y:.2f} {width:.2f} {height:.2f}" '
        f'style="width:{width / _EM:.2f}em;height:{height / _EM:.2f}em">'
        f'<path fill="currentColor" d="{"".join(parts)}"/></svg>',
        width / _EM,
    )


def _short(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")  # of twenty units to the em
    return "0" if text == "-0" else text


_Tokens = Sequence[tuple[str | None, ...]]


def _sequence(tokens: _Tokens, place: int) -> tuple[str, int]:
    """Text up to the closing brace or the end, and the place after it."""
    text, divided = "", False
    while place < len(tokens):
        mark = tokens[place][2]
        if mark == "}":
            return text, place + 1
        if mark in ("_", "^"):
            inner, place = _atom(tokens, place + 1)
            text = text.rstrip() + _script(inner, mark)
            continue
        fraction = tokens[place][0] in _FRACTIONS
        piece, place = _atom(tokens, place)
        text += " " + piece if divided and piece[:1] in _NEEDS_SPACE else piece
        divided = fraction
    return text, place


def _atom(tokens: _Tokens, place: int) -> tuple[str, int]:
    """One symbol, command with its arguments, or group."""
    if place >= len(tokens):
        return "", place
    name, escaped, mark, character = tokens[place]
    place += 1
    if mark == "{":
        return _sequence(tokens, place)
    if escaped is not None:
        return _SPACES.get(escaped, escaped), place
    if name is None:
        return (character or "", place)
    if name in _FRACTIONS:
        above, place = _atom(tokens, place)
        below, place = _atom(tokens, place)
        above = above.strip()
        return f"{_grouped(above) if _is_sum(above) else above}/{_grouped(below)}", place
    if name == "binom":
        above, place = _atom(tokens, place)
        below, place = _atom(tokens, place)
        return f"C({above}, {below})", place
    if name == "sqrt":
        inner, place = _atom(tokens, place)
        return "√" + _grouped(inner), place
    if name in _ACCENTS:
        inner, place = _atom(tokens, place)
        return (inner + _ACCENTS[name] if len(inner) == 1 else inner), place
    if name in _FONTS:
        return _atom(tokens, place)
    symbol = _SYMBOLS.get(name, name)
    return (f" {symbol} " if symbol in _RELATIONS else symbol), place


def _is_sum(text: str) -> bool:
    """Whether a sign or a quotient stands outside brackets."""
    return re.search(r"[-+−/=\s]", re.sub(r"\([^()]*\)", "", text)) is not None


def _grouped(text: str) -> str:
    simple = re.fullmatch(r"[^\s+\-−/·=()]+", text.strip()) is not None
    return text.strip() if simple else f"({text.strip()})"


def _script(text: str, mark: str) -> str:
    if not text.strip():
        return ""
    table = _LOW if mark == "_" else _HIGH
    text = re.sub(rf" *([{''.join(_RELATIONS)}]) *", r"\1", text.strip())
    compact = text.replace(" ", "")
    if len(compact) <= 3 and compact and all(c in table for c in compact):
        return "".join(table[c] for c in compact)
    return f"{mark}{text}" if re.fullmatch(r"\w+|.", text) else f"{mark}({text})"
