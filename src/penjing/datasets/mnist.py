"""MNIST, and Fashion-MNIST, which was made to take its place: 28x28 grey images of ten classes."""

from __future__ import annotations

from pathlib import Path

from penjing.datasets.images import LabelledImages, Split
from penjing.datasets.source import Source, obtain

# The checksums are of the unpacked files. Their MD5 sums are those that go with the published archives.
FASHION_MNIST = Source(
    name="fashion-mnist",
    addresses=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)
MNIST = Source(
    name="mnist",
    addresses=(
        "http://yann.lecun.com/exdb/mnist/",
        # The official address often refuses; these two mirrors are kept by the PyTorch project and the CVDF.
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)


def fashion_mnist(root: Path | str | None = None, split: Split = "train") -> LabelledImages:
    """Fashion-MNIST: articles of clothing, 60,000 to train and 10,000 to test.

    Args:
        root: folder with the four IDX files. Without it: `$PENJING_DATA/fashion-mnist`, then Debian's
            `dataset-fashion-mnist`, then the cache, into which the files are downloaded and checked once.
        split: "train" or "test".

    Raises:
        PenjingError: PJ350 to PJ354 if the files are missing, damaged or not the published ones.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747. MIT licence.
    """
    return obtain(FASHION_MNIST, root, split)


def mnist(root: Path | str | None = None, split: Split = "train") -> LabelledImages:
    """MNIST: handwritten digits, 60,000 to train and 10,000 to test.

    Args:
        root: folder with the four IDX files. Without it: `$PENJING_DATA/mnist`, then
            `/usr/share/datasets/mnist`, then the cache, into which the files are downloaded and checked once.
        split: "train" or "test".

    Raises:
        PenjingError: PJ350 to PJ354 if the files are missing, damaged or not the published ones.

    Source: LeCun, Cortes and Burges 1998, http://yann.lecun.com/exdb/mnist. CC BY-SA 3.0.
    """
    return obtain(MNIST, root, split)
