"""Which numbers an option takes: checked, and told in `--help` and in errors, in the same words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A range of numbers; what is None does not bound it.

    Attributes:
        at_least: the smallest number.
        at_most: the largest number.
        more_than: what all numbers are above.
        less_than: what all numbers are below.
        multiple_of: what they are whole multiples of.
        apart: a number outside of the range that is taken as well, as it has a meaning of its own.
        unit: what they count, for the words.

    Examples:
        >>> str(Limits(at_least=1)), str(Limits(more_than=0, at_most=1)), str(Limits(at_least=32, apart=0))
        ('1 or more', 'more than 0, at most 1', '32 or more, or 0')
        >>> Limits(at_least=0, less_than=1).hold(1.0)
        False
    """

    at_least: float | None = None
    at_most: float | None = None
    more_than: float | None = None
    less_than: float | None = None
    multiple_of: int | None = None
    apart: int | None = None
    unit: str = ""

    def hold(self, number: float) -> bool:
        """Whether a number is one of those; NaN never is."""
        if number == self.apart:
            return True
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
            and (self.more_than is None or number > self.more_than)
            and (self.less_than is None or number < self.less_than)
            and (self.multiple_of is None or number % self.multiple_of == 0)
        )

    def __str__(self) -> str:
        multiple = "" if self.multiple_of is None else f"a multiple of {self.multiple_of} from "
        if self.at_least is not None and self.at_most is not None:
            told = [f"{multiple}{self.at_least} to {self.at_most}"]
        else:
            bounds = {
                "{} or more": self.at_least,
                "more than {}": self.more_than,
                "at most {}": self.at_most,
                "less than {}": self.less_than,
            }
            told = [words.format(bound) for words, bound in bounds.items() if bound is not None]
        told += [f"in {self.unit}"] if self.unit else []
        told += [f"or {self.apart}"] if self.apart is not None else []
        return ", ".join(told)
