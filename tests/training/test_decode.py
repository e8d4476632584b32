import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuroexapt.errors import DataError
from neuroexapt.training.decode import decode_image, decode_images


def png(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png", **options)
    return file.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_decode_colour_image_is_channels_first(tmp_path: Path) -> None:
    pixels = noise(5, 4, 3)
    (tmp_path / "a.png").write_bytes(png(pixels))
    for source in (png(pixels), tmp_path / "a.png"):
        assert np.array_equal(decode_image(source, "a"), pixels.transpose(2, 0, 1))


def test_decode_grey_image_has_one_channel() -> None:
    pixels = noise(5, 4)
    assert np.array_equal(decode_image(png(pixels), "a"), pixels[None])


def test_decode_turns_an_image_as_its_camera_says() -> None:
    pixels = noise(5, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    decoded = decode_image(png(pixels, exif=exif), "a")
    assert np.array_equal(decoded, pixels[::-1, ::-1].transpose(2, 0, 1))


def test_decode_crops_the_middle() -> None:
    pixels = noise(2, 4)
    assert np.array_equal(decode_image(png(pixels), "a", image_size=2), pixels[None, :, 1:3])


def test_decode_many_of_mixed_colours_are_all_coloured() -> None:
    grey, colour = noise(3, 3), noise(3, 3, 3)
    images = decode_images([png(grey), png(colour)], ["grey", "colour"])
    assert images.dtype == torch.uint8 and images.shape == (2, 3, 3, 3)
    assert all(np.array_equal(images[0, channel], grey) for channel in range(3))
    assert np.array_equal(images[1], colour.transpose(2, 0, 1))


def test_decode_many_keeps_their_order_across_chunks() -> None:
    sources = [png(np.full((2, 2), number % 251, np.uint8)) for number in range(700)]
    images = decode_images(sources, [str(number) for number in range(700)])
    assert images[:, 0, 0, 0].tolist() == [number % 251 for number in range(700)]


def truncated() -> bytes:
    return png(noise(64, 64, 3))[:-2000]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"these are words", "cannot be read as an image .* mend or remove it"),
        (b"", "cannot be read as an image"),
        (truncated(), "cannot be read as an image"),
        (png(np.zeros((2, 2), np.uint16)), "mode I;16, where 8 bits"),
        (Path("missing.png"), "No such file"),
    ],
)
def test_decode_unreadable_image_is_named(source: bytes | Path, message: str) -> None:
    with pytest.raises(DataError, match=f"holiday.png .*{message}|holiday.png {message}"):
        decode_images([png(noise(2, 2)), source], ["fine.png", "holiday.png"])


def test_decode_other_size_is_named_with_the_remedy() -> None:
    sources = [png(noise(2, 3)), png(noise(3, 3))]
    with pytest.raises(
        DataError, match=r"b\.png is 3 by 3 .* a\.png is 2 by 3; give an image size"
    ):
        decode_images(sources, ["a.png", "b.png"])
    assert decode_images(sources, ["a.png", "b.png"], image_size=2).shape == (2, 1, 2, 2)


def test_decode_colours_where_training_has_none_are_refused() -> None:
    with pytest.raises(DataError, match="b has colours"):
        decode_images([png(noise(2, 2)), png(noise(2, 2, 3))], ["a", "b"], num_channels=1)
