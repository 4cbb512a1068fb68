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
            " so that {root}/miniplaces64/train/<class>/*.jpg and val/<class>/*.jpg exist"
            " (miniplaces-full reads the whole, as it is published)",
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
        DatasetSpec(
            name="places205",
            title="Places205",
            takes_path=True,
            image_size=64,
            num_classes=205,
            version=1,
            flip=True,
            paper="Places205",
            source="request the download at http://places.csail.mit.edu/user and unpack imagesPlaces205_resize.tar.gz"
            " and trainvalsplit_places205.tar.gz into {root}/places205"
            " so that {root}/places205/data/vision/torralba/deeplearning/images256"
            " and {root}/places205/trainvalsplit_places205 exist",
            loader="bench.data.places:places205",
            num_train=2_448_873,
            num_test=20_500,
        ),
        DatasetSpec(
            name="imagenet",
            title="ImageNet",
            takes_path=True,
            image_size=224,
            compressed=True,
            num_classes=1000,
            version=1,
            flip=True,
            paper="ImageNet",
            source="download ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from"
            " https://image-net.org/challenges/LSVRC/2012 and unpack them into {root}/imagenet"
            " so that {root}/imagenet/train/<wnid>/*.JPEG, val/*.JPEG (or val/<wnid>/*.JPEG) and"
            " ILSVRC2012_devkit_t12 exist",
            loader="bench.data.imagenet:imagenet",
            num_train=1_281_167,
            num_test=50_000,
        ),
        DatasetSpec(
            name="tinyimagenet",
            title="Tiny ImageNet",
            takes_path=True,
            image_size=64,
            num_classes=200,
            version=1,
            flip=True,
            paper=None,
            source="download http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it"
            " so that {root}/tiny-imagenet-200/wnids.txt exists",
            loader="bench.data.places:tinyimagenet",
            num_train=100_000,
            num_test=10_000,
            overlaps=("imagenet",),
        ),
        DatasetSpec(
            name="stl10",
            title="STL-10",
            image_size=96,
            num_classes=10,
            version=1,
            flip=True,
            paper=None,
            source="download http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz and unpack it"
            " so that {root}/stl10_binary/train_X.bin exists",
            loader="bench.data.stl10:stl10",
            files=False,
            num_train=5_000,
            num_test=8_000,
            overlaps=("imagenet",),
        ),
        DatasetSpec(
            name="miniplaces-full",
            title="MiniPlaces (100,000)",
            takes_path=True,
            image_size=64,
            num_classes=100,
            version=1,
            flip=True,
            paper=None,
            source="download data.tar.gz and development_kit.tar.gz as https://github.com/CSAILVision/miniplaces says"
            " and unpack them into {root}/miniplaces"
            " so that {root}/miniplaces/images/train and {root}/miniplaces/development_kit/data/train.txt exist",
            loader="bench.data.places:miniplaces_full",
            num_train=100_000,
            num_test=10_000,
        ),
    ]
}
