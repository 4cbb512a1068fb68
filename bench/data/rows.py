"""The data sets that come with this package, one row each. Cheap to import.

A row says what is known of a data set and where its reader is; `bench.data.registry` finds it by its name.
"""

from bench.data.source import DatasetSpec

CIFAR = "https://www.cs.toronto.edu/~kriz"

DATASETS: dict[str, DatasetSpec] = {
    row.name: row
    for row in [
        DatasetSpec(
            name="digits",
            title="Digits",
            image_size=32,
            num_classes=10,
            version=1,
            flip=False,
            paper=None,
            source="comes with scikit-learn: nothing to download",
            loader="bench.data.digits:digits",
            files=False,
            num_train=1437,
            num_test=360,
            needs_root=False,
            near_equal=False,
        ),
        DatasetSpec(
            name="cifar100",
            title="CIFAR100",
            image_size=32,
            num_classes=100,
            version=1,
            flip=False,
            paper="CIFAR100",
            source=f"download {CIFAR}/cifar-100-binary.tar.gz and unpack it"
            " so that {root}/cifar-100-binary/train.bin exists",
            loader="bench.data.cifar:cifar100",
            files=False,
            num_train=50_000,
            num_test=10_000,
        ),
        DatasetSpec(
            name="cifar10",
            title="CIFAR10",
            image_size=32,
            num_classes=10,
            version=1,
            flip=False,
            paper=None,
            source=f"download {CIFAR}/cifar-10-python.tar.gz and unpack it"
            " so that {root}/cifar-10-batches-py/data_batch_1 exists",
            loader="bench.data.cifar:cifar10",
            files=False,
            num_train=50_000,
            num_test=10_000,
        ),
        DatasetSpec(
            name="miniplaces",
            title="MiniPlaces",
            takes_path=True,
            image_size=64,
            num_classes=100,
            version=1,
            flip=True,
            paper=None,
            source="download MiniPlaces from https://github.com/CSAILVision/miniplaces and write the first 80"
            " training and 20 validation images of each class at 64x64"
            " so that {root}/miniplaces64/train/<class>/*.jpg and val/<class>/*.jpg exist",
            loader="bench.data.folders:miniplaces",
            num_train=8_000,
            num_test=2_000,
        ),
        DatasetSpec(
            name="indoor67",
            title="Indoor67",
            takes_path=True,
            image_size=64,
            num_classes=67,
            version=1,
            flip=True,
            paper="Indoor67",
            source="download http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar and"
            " http://web.mit.edu/torralba/www/{{TrainImages,TestImages}}.txt"
            " so that {root}/indoorCVPR_09/Images and {root}/indoorCVPR_09/TrainImages.txt exist",
            loader="bench.data.indoor67:indoor67",
            num_train=5_360,
            num_test=1_340,
        ),
    ]
}
