"""Options: what a user may set, from the command line, a YAML file or Python, and the checks on it."""
