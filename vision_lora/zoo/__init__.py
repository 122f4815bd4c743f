"""Bases that ship with the package, and the command that packs them."""
