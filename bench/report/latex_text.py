"""Text as LaTeX prints it: escaped, without ligatures, in letters that pdflatex has, breakable where it is long."""

import re
import unicodedata

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip

_BREAK = "\u200b"

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "−": r"$-$", "±": r"$\pm$", "×": r"$\times$", "—": "---", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$",
    "…": r"\ldots{}",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "→": r"$\to$", "←": r"$\leftarrow$",
    "∞": r"$\infty$", "·": r"$\cdot$", "√": r"$\surd$", "∑": r"$\sum$", "°": r"$^\circ$", "½": "1/2",
    "“": "``", "”": "''", "‘": "`", "’": "'",
    "\u00a0": "~", "\u202f": r"\,", _BREAK: r"\allowbreak{}",
    **{letter: rf"$\{name}$" for letter, name in _GREEK.items()},
}  # fmt: skip

# Signs that two of a kind, or after another, turn into one of another meaning: "--" would be a dash.
_LIGATURE = r"-(?=-)|,(?=,)|'(?=')|`(?=`)|(?:(?<=\?)|(?<=!))`"
_PATTERN = re.compile("|".join([*(re.escape(key) for key in _ESCAPES), _LIGATURE]))

# What T1 fonts print as it is: Latin letters with their accents. Anything else would end the run.
_PRINTED = {*map(chr, range(32, 127)), *map(chr, range(0xA1, 0x180)), *"„‚‹›•€™‰"} - set("ĦħĸĿŀŉŦŧſ")

# A word that is longer may break, after a sign if it has any.
_LONG = re.compile(r"\S{25,}")
_PIECES = re.compile(r"\S{1,12}?[/_,=.:;@&?-]|\S{1,12}")

# The symbols of the paper, as it sets them.
_SYMBOLS = {
    r"L\_w": r"$\mathcal{L}_w$",
    r"d\_p": r"$d_p$",
    r"z\_occ": r"$z_{\mathrm{occ}}$",
    r"$\beta$\_occ": r"$\beta_{\mathrm{occ}}$",
}
_SYMBOL = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, _SYMBOLS))})(?![\w\\])")


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line, within `pdflatex` and T1 fonts.

    The paper's symbols, such as L_w, are set as the paper sets them. A letter that these fonts lack is printed as its
    number, U+65E5, so that two names stay apart.
    """
    text = re.sub(r"[^\S\u00a0\u202f]", " ", unicodedata.normalize("NFC", text))
    text = _LONG.sub(lambda word: _BREAK.join(_PIECES.findall(word[0])), text)
    escaped = _PATTERN.sub(lambda found: _ESCAPES.get(found[0]) or found[0] + "{}", text)
    escaped = "".join(c if c in _PRINTED else rf"\texttt{{U+{ord(c):04X}}}\allowbreak{{}}" for c in escaped)
    return _SYMBOL.sub(lambda found: _SYMBOLS[found[0]], escaped)
