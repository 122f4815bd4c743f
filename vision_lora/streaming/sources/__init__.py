"""Sources: from an address to pictures, and back to them after every fault."""
