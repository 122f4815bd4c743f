"""Pictures as factories have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.build import small_disk
from vision_lora.errors import DataError, FormatError, OutputError
from vision_lora.pictures.images import encode_picture, image_size, letterbox, read_image, write_picture


def test_rgb_order(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "red.png")
    image = read_image(tmp_path / "red.png")
    assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
    assert image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(path)
    assert read_image(path).shape == (4, 4, 3)
    assert read_image(path).min() == 255


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_is_scaled(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}")[0, :, 0].tolist() == [0, 127, 255]


def test_float_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="32-bit"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pillow's own exif_transpose is the reference; size and picture agree."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.arange(8 * 16, dtype=np.uint8).reshape(8, 16)).convert("RGB")
    path = tmp_path / f"a.{suffix}"
    picture.save(
        path, exif=exif, **({"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {})
    )
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == ((8, 16) if orientation >= 5 else (16, 8))


def test_missing_and_broken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such picture"):
        read_image(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"a\.jpg: unreadable"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("first", ["vision_lora.pictures.images", "ultralytics"])
def test_ultralytics_does_not_get_in_between(tmp_path: Path, first: str) -> None:
    """It exchanges Pillow's `open`; a broken picture must stay one line."""
    import subprocess
    import sys

    pytest.importorskip("ultralytics")
    (tmp_path / "a.png").write_bytes(b"no picture")
    code = f"""if True:
        import {first}
        import ultralytics.utils
        from pathlib import Path
        from vision_lora.errors import DataError
        from vision_lora.pictures.images import read_image
        try:
            read_image(Path({str(tmp_path / "a.png")!r}))
        except DataError as error:
            print("told:", error)
    """
    environment = os.environ | {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "told: " in done.stdout


def test_truncated_jpeg_is_not_half_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="truncated"):
        read_image(path)


def test_bomb(tmp_path: Path) -> None:
    Image.new("1", (15_000, 15_000)).save(tmp_path / "a.png")
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"declares more pixels than the 178,956,970|at most 178,956,970"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(100, 50), (50, 100), (640, 639), (1, 900), (320, 320)])
def test_letterbox(width: int, height: int) -> None:
    image = np.full((height, width, 3), 7, np.uint8)
    out, scale, (pad_x, pad_y) = letterbox(image, 320)
    assert out.shape == (320, 320, 3)
    assert scale == 320 / max(width, height)
    ys, xs = (out[..., 0] == 7).nonzero()
    assert (xs.min(), ys.min()) == (pad_x, pad_y)
    assert abs(np.ptp(xs) + 1 - max(1, width * scale)) < 1
    assert abs(np.ptp(ys) + 1 - max(1, height * scale)) < 1
    assert set(np.unique(out)) <= {7, 114}


@pytest.mark.parametrize(("name", "size"), [(b"a.png", (1, 1)), (b"a.JPG", (30, 20)), (b"K_\xfc.png", (7, 9))])
def test_a_picture_is_written_and_read_again(tmp_path: Path, name: bytes, size: tuple[int, int]) -> None:
    path = tmp_path / os.fsdecode(name)
    write_picture(path, np.full((size[1], size[0], 3), (200, 100, 50), np.uint8))
    again = read_image(path)
    assert again.shape == (size[1], size[0], 3)
    assert np.abs(again.astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(
    ("name", "size"), [("a.jpg", (70_000, 1)), ("a.mp4", (4, 4)), ("a", (4, 4)), ("a.png", (0, 4))]
)
def test_a_format_that_does_not_take_a_picture_is_told(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    with pytest.raises(FormatError, match=f"{name}: no "):
        write_picture(tmp_path / name, np.zeros((size[1], size[0], 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_half_a_picture_is_never_left(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)
    with small_disk(1000), pytest.raises(OutputError, match=r"a\.png: cannot be written"):
        write_picture(tmp_path / "a.png", noise)
    assert list(tmp_path.iterdir()) == []
    assert len(encode_picture(noise, ".jpg", quality=30)) < len(encode_picture(noise, ".jpg", quality=90))
