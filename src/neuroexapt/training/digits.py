"""The digits: 1,797 real scans of 8 by 8 pixels that come with scikit-learn, so offline."""

import numpy as np
import torch

from neuroexapt.training.images import DataSplits, ImageSet
from neuroexapt.training.split import cut_three


def read_digits(validation: float, split_seed: int) -> DataSplits:
    """Read the handwritten digits and split them, the same share of every class in each part.

    Intensities 0 to 16 become bytes 0 to 255. At the default shares the parts hold 1,258, 180 and
    359 images; the test part is the same whatever the arguments are.

    Args:
        validation: share of all images held out for choices made while training.
        split_seed: draws which of the others that is.

    Raises:
        DataError: if `validation` is out of range.

    Source: Alpaydin and Kaynak 1998, UCI repository, "Optical Recognition of Handwritten Digits".
    """
    # Importing scikit-learn takes a second, which other data sets need not pay.
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    digits = ImageSet(
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        tuple(str(digit) for digit in range(10)),
    )
    train, held_out, test = cut_three(digits.labels, validation, split_seed)
    return DataSplits(
        "digits",
        train=digits.select(train),
        validation=digits.select(held_out),
        read_test=lambda: digits.select(test),
    )
