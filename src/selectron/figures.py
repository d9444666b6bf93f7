"""How figures are written for people to read."""

from __future__ import annotations

__all__ = ["decimal", "shown"]


def decimal(value: float) -> str:
    """Four digits, or as many as there are before the point; powers of ten for what is beyond.

    >>> [decimal(value) for value in (0.98550, 92_609.0, 185_000.4, 9_999.9, 1.5e-7, 2e20)]
    ['0.9855', '92609', '185000', '10000', '1.5e-07', '2e+20']
    """
    return f"{value:.0f}" if 9_999.5 <= abs(value) < 1e15 else f"{value:.4g}"


def shown(value: object) -> str:
    """A value in a cell of a table; nothing for NULL.

    >>> shown(None), shown("Adelie"), shown(12_345), shown(0.1 + 0.2)
    ('', 'Adelie', '12345', '0.3')
    """
    if value is None:
        return ""
    return decimal(value) if isinstance(value, float) else str(value)
