"""Which unlabelled pictures are to be labelled next, and how they are handed to labelling tools."""
