"""Numbers as a reader wants them: a measurement shows as many digits as it knows."""

from __future__ import annotations

from decimal import Decimal
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpstheory.claim import Verdict

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN = range(-3, 7)  # powers of ten written out
_DIGITS = 7
_EXACT = 1e-9  # an interval this short, relative to the mean, is rounding


def figure(value: float, digits: int = _DIGITS) -> str:
    """``value`` to so many significant digits, trailing zeros dropped: 0.25, 952906, 1.5·10⁻⁷."""
    if not isfinite(value):
        return "–" if value != value else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    power = floor(log10(abs(value)))
    if power in _PLAIN:
        text = f"{value:.{max(0, digits - 1 - power)}f}"
        return _without_zeros(text)
    lead, _, ten = f"{value:.{digits - 1}e}".partition("e")
    return _without_zeros(lead) + _ten_to(int(ten))


def measurement(mean: float, half: float) -> str:
    """``mean ± half``, the half to two digits and the mean to as many decimals: 3059 ± 14."""
    if not (isfinite(mean) and isfinite(half)) or half <= _EXACT * abs(mean):
        return figure(mean)
    power, decimals = _scale(mean, half)
    if power == 0:
        return f"{_fixed(mean, decimals)} ± {_fixed(half, decimals)}"
    shown = (_fixed(_scaled(v, power), decimals) for v in (mean, half))
    return f"({' ± '.join(shown)}){_ten_to(power)}"


def prediction(value: float, mean: float, half: float) -> str:
    """``value`` with one decimal more than ``measurement(mean, half)`` shows."""
    known = isfinite(mean) and isfinite(half) and isfinite(value)
    far = known and abs(value) > 1e3 * max(abs(mean), half)
    if not known or far or half <= _EXACT * abs(mean) or value == 0:
        return figure(value)
    power, decimals = _scale(mean, half)
    text = _fixed(_scaled(value, power), max(0, decimals + 1))
    if float(text) == 0:
        return figure(value, 3)
    return _without_zeros(text) + (_ten_to(power) if power else "")


def predicted_text(verdict: Verdict) -> str:
    """What the formula says, with its relation: 3064, ≤ 0.04; "never" for violations."""
    if verdict.relation == "always":
        return "never"
    text = prediction(verdict.predicted, verdict.measured, half_width(verdict))
    return f"≤ {text}" if verdict.relation == "at most" else text


def measured_text(verdict: Verdict) -> str:
    """What the draws say: 3059 ± 14; for "always" the number of violations."""
    if verdict.relation == "always":
        violations = verdict.measured * verdict.draws
        if not isfinite(violations):
            return "–"
        return f"{figure(round(violations)) if violations else 'never'} in {count(verdict.draws)}"
    return measurement(verdict.measured, half_width(verdict))


def half_width(verdict: Verdict) -> float:
    """Half the length of the interval."""
    return (verdict.interval[1] - verdict.interval[0]) / 2


def count(number: float) -> str:
    """A whole number in at most five characters: 691, 48.2k, 1.31M, 2.5G."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size and number >= 1000:
            return _without_zeros(f"{number / size:#.3g}".rstrip(".")) + unit
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 2 min 5 s, 1 h 4 min."""
    if not isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def share(value: float) -> str:
    """A fraction in per cent: 1 %, 0.5 %."""
    return f"{_without_zeros(f'{100 * value:.3g}')} %"


def chance(value: float) -> str:
    """A small probability: 10⁻⁶, 0.001, 2.1·10⁻⁸."""
    if 0 < value < 1e-3:
        shown = figure(value, 2)
        return shown.removeprefix("1·")
    return figure(value, 2)


def _scale(mean: float, half: float) -> tuple[int, int]:
    """Power of ten to divide by, and decimals after that."""
    size = max(abs(mean), half)
    power = floor(log10(size))
    power = 0 if power in _PLAIN else power
    return power, 1 - floor(log10(half)) + power


def _scaled(value: float, power: int) -> float:
    """``value`` / 10^power, for the smallest and the largest numbers too."""
    return float(Decimal(value).scaleb(-power))


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(0, min(decimals, 9))}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ten_to(power: int) -> str:
    return "·10" + str(power).translate(SUPERSCRIPTS)
