"""What was detected: one object a picture, and the collection that is saved, shown and converted."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_lora.api.pictures import in_memory
from vision_lora.errors import ConfigError, DataError
from vision_lora.pictures.detections import Detections, Source
from vision_lora.pictures.drawing import draw_detections, grid
from vision_lora.pictures.videos import Video
from vision_lora.streaming.files.results import CocoResults
from vision_lora.streaming.files.sinks import AnnotatedFolder
from vision_lora.streaming.sources.source import FileFrame, FileSource
from vision_lora.system.outputs import results_folder

if TYPE_CHECKING:
    import supervision

log = logging.getLogger(__name__)

SHOWN = 9  # pictures that `Results.show` draws
COLUMNS = ("picture", "frame", "class_id", "name", "source", "score", "x1", "y1", "x2", "y2")


class Detection(NamedTuple):
    """One detection.

    Attributes:
        box: corners x1, y1, x2, y2 in pixels of the picture.
        score: confidence, 0 to 1.
        class_id: index into the detector's classes, see `Result`.
        name: of the class.
        source: `general` where the base knows the class, `defects` where an adapter has learned it.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    name: str
    source: Source


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in one picture, or one frame of a video, best score first.

    A class id counts through both vocabularies: of a base with G classes of its own and an adapter that has learned N,
    the ids 0 to G-1 are the base's (source `general`), G to G+N-1 the adapter's (source `defects`), whatever mode was
    detected in. `Detector.classes` lists them all. COCO's `category_id` is one more, as COCO begins with 1.

    Attributes:
        name: of the picture's file, relative to what was given; `picture-N.png` for the Nth picture in memory, from 0.
        path: the file; None for a picture in memory.
        index: frame number in a video, from 0; None for a picture.
        image_id: number among all pictures and frames that were given, from 1; or what a COCO file calls it.
        width: of the picture, pixels.
        height: of the picture, pixels.
        detections: boxes, scores and class ids as arrays.

    Examples:
        >>> import numpy as np
        >>> from vision_lora import Detector
        >>> grey = np.full((64, 96, 3), 127, np.uint8)
        >>> result = Detector.load("starter", device="cpu").predict(grey, confidence=0.001, imgsz=64)[0]
        >>> result.name, result.width, result.boxes.shape == (len(result), 4)
        ('picture-0.png', 96, True)
        >>> all(0 <= detection.score <= 1 and detection.source == "general" for detection in result)
        True
    """

    name: str
    path: Path | None
    index: int | None
    image_id: int | str
    width: int
    height: int
    detections: Detections
    _source: FileSource = field(repr=False)
    _place: int = field(repr=False)

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator[Detection]:
        found = self.detections
        for place, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
            score, class_id = float(found.scores[place]), int(found.classes[place])
            yield Detection((x1, y1, x2, y2), score, class_id, found.name(place), found.source(place))

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Corners x1, y1, x2, y2 in pixels of the picture, (n, 4)."""
        return self.detections.boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """Confidence, 0 to 1, (n,)."""
        return self.detections.scores

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """Index into the detector's classes, (n,)."""
        return self.detections.classes

    @property
    def names(self) -> list[str]:
        """Class name of each detection."""
        return [self.detections.name(place) for place in range(len(self))]

    @property
    def sources(self) -> list[Source]:
        """Whose class each detection is of: `general` or `defects`."""
        return [self.detections.source(place) for place in range(len(self))]

    def picture(self) -> NDArray[np.uint8]:
        """The picture itself, (height, width, 3) uint8 RGB; read again where it came from a file.

        Raises:
            DataError: the file cannot be read any more.
        """
        if self.index is None or self.path is None:
            return self._source.read(self._place)
        for index, picture in Video(self.path):
            if index == self.index:
                return picture
        raise DataError(f"{self.path}: frame {self.index} is not in it any more")

    def draw(self) -> Image.Image:
        """A copy of the picture with each detection's box, class and score."""
        return Image.fromarray(draw_detections(self.picture(), self.detections))

    def show(self) -> None:
        """Open the drawn picture in the system's viewer."""
        self.draw().show(self.name)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict a detection: picture, frame, class_id, name, source, score, x1, y1, x2, y2 (pixels)."""
        rows = [(self.name, self.index, one.class_id, one.name, one.source, one.score, *one.box) for one in self]
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]

    def to_supervision(self) -> supervision.Detections:
        """As roboflow's supervision has it; `data` holds `class_name` and `source`.

        Raises:
            ConfigError: supervision is not installed.
        """
        library = _library("supervision", "pip install 'vision-lora[camera]'")
        data = {"class_name": np.array(self.names, str), "source": np.array(self.sources, str)}
        found: supervision.Detections = library.Detections(
            xyxy=self.boxes.copy(), confidence=self.scores.copy(), class_id=self.class_ids.astype(int), data=data
        )
        return found


class Results(Sequence[Result]):
    """What was found in all pictures, in their order; those that cannot be read are left out.

    Args:
        source: the pictures.
        found: each of its frames with the detections in it; gone through once.

    Attributes:
        problems: what could not be read, one line each.

    Examples:
        >>> import numpy as np
        >>> from vision_lora import Detector
        >>> pictures = [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 48), np.uint8)]
        >>> results = Detector.load("starter", device="cpu").predict(pictures, imgsz=64)
        >>> [(result.name, result.height, len(result)) for result in results], results.to_rows()
        ([('picture-0.png', 64, 0), ('picture-1.png', 32, 0)], [])
    """

    def __init__(self, source: FileSource, found: Iterable[tuple[FileFrame, Detections]]) -> None:
        self._source = source
        places = {source.name(file): place for place, file in enumerate(source.files)}
        self._results = tuple(_result(source, places[frame.name], frame, detections) for frame, detections in found)
        self.problems = tuple(source.problems)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        return self._results[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.counts().most_common())
        return f"<{len(self)} {'picture' if len(self) == 1 else 'pictures'}: {found or 'nothing found'}>"

    def counts(self) -> Counter[str]:
        """How many detections there are of each class, by its name."""
        return Counter(name for result in self for name in result.names)

    def save(self, folder: str | Path, *, exist_ok: bool = False) -> Path:
        """Write a copy of each picture, and of each video, with the detections drawn on it.

        Args:
            folder: where to; where it exists a number is added, so that nothing is overwritten.
            exist_ok: write into the folder even where it exists.

        Returns:
            The folder that was written.

        Raises:
            ConfigError: the folder cannot be made, or it is where the pictures are.
            OutputError: there is no room for a copy.
        """
        found = {result.image_id: result.detections for result in self}
        source = replace(self._source, problems=[])  # those are told already
        with results_folder(str(folder), exist_ok=exist_ok) as out, closing(AnnotatedFolder(out, source)) as sink:
            for frame in source:
                if frame.image_id in found:
                    sink.write(frame, found[frame.image_id])
        for line in sink.problems:
            log.warning("%s", line)
        return out

    def show(self) -> None:
        """Open the first nine pictures, drawn, side by side in the system's viewer."""
        drawn = [np.asarray(result.draw()) for result in self._results[:SHOWN]]
        if drawn:
            Image.fromarray(grid(drawn, columns=3)).show()

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict a detection, see `Result.to_rows`."""
        return [row for result in self for row in result.to_rows()]

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            ConfigError: pandas is not installed.
        """
        return _library("pandas", "pip install pandas").DataFrame(self.to_rows(), columns=COLUMNS)

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO results, as `predict --json` writes them and pycocotools' `loadRes` takes them.

        Returns:
            One dict a detection: image_id, category_id (class id + 1, or the id in the COCO file that was given), bbox
            (x, y, width, height in pixels), score; besides file_name, category_name, source, and frame in a video.
        """
        return self._coco().rows

    def to_supervision(self) -> list[supervision.Detections]:
        """One `supervision.Detections` a picture, see `Result.to_supervision`."""
        return [result.to_supervision() for result in self]

    def _coco(self) -> CocoResults:
        coco = CocoResults(self._source.categories)
        for result in self:
            coco.add(result, result.detections)
        return coco


def _result(source: FileSource, place: int, frame: FileFrame, found: Detections) -> Result:
    """A frame's result; the frame with its pixels is let go."""
    path = None if in_memory(source, place) else source.files[place]
    seen = (frame.name, path, frame.index, frame.image_id, frame.width, frame.height)
    return Result(*seen, found, source, place)


def _library(name: str, how: str) -> Any:
    """A library that the package does without."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed, or does not load ({error}); install it: {how}") from error
