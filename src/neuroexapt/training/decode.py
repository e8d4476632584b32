"""Turn files or bytes into pixels, and name those that cannot be."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from neuroexapt.errors import DataError

Pixels = NDArray[np.uint8]
CHUNK = 256

# What Pillow raises on bytes that are no image, a broken image, or one of absurd size.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    Image.DecompressionBombError,
)


def decode_image(source: Path | bytes, name: str, image_size: int | None = None) -> Pixels:
    """Decode one image.

    Args:
        source: a file, or an encoded image.
        name: what to call it in an error.
        image_size: side in pixels of the square that it is resized to and cropped from its
            middle; None leaves it as it is.

    Returns:
        Shape (1, H, W) if the image is stored as grey, (3, H, W) otherwise.

    Raises:
        DataError: if it is unreadable, no image, or has more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"pixels of mode {image.mode}, where 8 bits a channel are allowed")
            upright = ImageOps.exif_transpose(image)
            pixels = upright.convert("L" if upright.mode in ("1", "L") else "RGB")
            if image_size is not None:
                pixels = ImageOps.fit(pixels, (image_size, image_size))
    except _UNREADABLE as error:
        raise DataError(
            f"{name} cannot be read as an image ({error}); mend or remove it"
        ) from error
    array = np.asarray(pixels)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def decode_images(
    sources: Sequence[Path | bytes],
    names: Sequence[str],
    image_size: int | None = None,
    num_channels: int | None = None,
) -> Tensor:
    """Decode many images of one size, on all cores.

    Args:
        sources: files, or encoded images.
        names: what to call each in an error.
        image_size: side in pixels of the square that each is resized to and cropped from its
            middle; None requires all to have one size already.
        num_channels: 3 for colour, 1 for grey; None takes colour if any image has it.

    Returns:
        uint8, shape (N, C, H, W); grey images among colour ones have three equal channels.

    Raises:
        DataError: if an image is unreadable, of another size than the first, or has colours
            though `num_channels` is 1; the message names it.
    """
    starts = range(0, len(sources), CHUNK)

    def decode_chunk(start: int) -> list[Pixels]:
        chosen = slice(start, start + CHUNK)
        return [
            decode_image(source, name, image_size)
            for source, name in zip(sources[chosen], names[chosen], strict=True)
        ]

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        arrays = [array for chunk in executor.map(decode_chunk, starts) for array in chunk]
    channels = num_channels or max(len(array) for array in arrays)
    _check_alike(arrays, names, channels)
    out = np.empty((len(arrays), channels, *arrays[0].shape[1:]), np.uint8)
    for position, array in enumerate(arrays):
        out[position] = array
    return torch.from_numpy(out)


def _check_alike(arrays: Sequence[Pixels], names: Sequence[str], channels: int) -> None:
    size = arrays[0].shape[1:]
    for array, name in zip(arrays, names, strict=True):
        if array.shape[1:] != size:
            raise DataError(
                f"{name} is {array.shape[1]} by {array.shape[2]} pixels (height by width), but "
                f"{names[0]} is {size[0]} by {size[1]}; "
                "give an image size to bring all to (--image-size)"
            )
        if len(array) > channels:
            raise DataError(
                f"{name} has colours, but the training images are all grey; convert it to grey"
            )
