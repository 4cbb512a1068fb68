"""What an hour of a device costs. No torch."""

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """Of an hour of a device.

    Attributes:
        amount: in the unit.
        unit: of money, as typed; may be "".
    """

    amount: float
    unit: str = ""

    def of(self, device_hours: float) -> str:
        """The cost, as a person says it: "12.50 EUR", with a digit more where it is less than one."""
        cost = self.amount * device_hours
        return f"{cost:.{2 if cost >= 1 or not cost else 3}f} {self.unit}".strip()


def parse_price(text: str) -> Price:
    """A price such as "2.5", "2.5EUR", "0.90 $/h" or "EUR 2.5".

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"\s*([^\d\s.+-]*)\s*(\d+(?:\.\d+)?|\.\d+)\s*([^\d\s.+-]*)\s*", text)
    if match is None or (match[1] and match[3]) or not math.isfinite(float(match[2])):
        raise ValueError(f"{text!r} is no price of a device-hour: write 2.5 or 2.5EUR")
    unit = (match[1] or match[3]).removesuffix("/h")
    return Price(float(match[2]), unit)
