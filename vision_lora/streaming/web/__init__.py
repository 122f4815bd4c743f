"""The page of `camera`: live pictures, numbers, and what each source is watched with."""
