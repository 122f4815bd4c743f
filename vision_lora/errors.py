"""Everything a user can get wrong, as exceptions that a verb prints in one line (exit code 2)."""


class VisionLoraError(Exception):
    """A mistake that the user can mend: the message says what, where, what was expected and what to do."""


class ConfigError(VisionLoraError):
    """An option or a config file is wrong."""


class DataError(VisionLoraError):
    """A dataset, a label or an image cannot be used."""


class CheckpointError(VisionLoraError):
    """A base checkpoint is missing, broken, unsafe or no detector."""


class MissingCheckpointError(CheckpointError):
    """A base checkpoint is not on this machine.

    Args:
        found: what is missing, and why.
        advice: what to do where any base will do; an adapter's own base is the only one that will.
    """

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}; {advice}")
        self.found = found


class AdapterError(VisionLoraError):
    """An adapter cannot be made, attached, merged, read or written."""


class BrokenAdapterError(AdapterError):
    """A file is truncated, altered, or no adapter at all."""


class NewerAdapterError(AdapterError):
    """A file was written by a newer version, in a format that this one does not know."""


class WrongBaseError(AdapterError):
    """An adapter was made for other base weights."""


class MismatchError(AdapterError):
    """An adapter does not fit a layer, or names one that the network does not have."""


class AlreadyAttachedError(AdapterError):
    """The name or the adapter is attached already."""


class AlreadyMergedError(AdapterError):
    """The network has an adapter merged into it; it has to be unmerged first."""


class ClassClashError(AdapterError):
    """Class names are double, or mean two things at once."""


class ForeignLayoutError(AdapterError):
    """Something has no place in another library's adapter layout, or comes from one that has no place in ours."""


class TrainingError(VisionLoraError):
    """Training cannot go on."""


class OutputError(VisionLoraError):
    """A result cannot be written where it should go."""


class FormatError(OutputError):
    """A format does not take what is to be written; a place for it there is."""


def reason(error: BaseException) -> str:
    """Why something failed: in words, and in one line.

    Examples:
        >>> reason(KeyError(101)), reason(FileNotFoundError(2, "No such file or directory", "a.pt")), reason(EOFError())
        ('no entry 101', 'No such file or directory', 'EOFError')
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and error.args:
        return f"no entry {error.args[0]!r}"
    return " ".join(str(error).split()) or type(error).__name__
