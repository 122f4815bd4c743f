"""Networks of any family: looked at, folded, divided, their class layers taken apart."""
