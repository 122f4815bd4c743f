"""Everything that measures this package and serves nobody."""
