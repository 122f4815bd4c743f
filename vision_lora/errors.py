"""Everything a user can get wrong, as exceptions that a verb prints in one line (exit code 2)."""


class VisionLoraError(Exception):
    """A mistake that the user can mend: the message says what, where, what was expected and what to do."""


class ConfigError(VisionLoraError):
    """An option or a config file is wrong."""


class DataError(VisionLoraError):
    """A dataset, a label or an image cannot be used."""


class CheckpointError(VisionLoraError):
    """A base checkpoint is missing, broken, unsafe or no detector."""


class AdapterError(VisionLoraError):
    """An adapter cannot be made, attached, merged, read or written."""


class TrainingError(VisionLoraError):
    """Training cannot go on."""
