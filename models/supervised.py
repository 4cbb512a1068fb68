"""Supervised pretraining: the row that the paper calls "ImageNet Pretrained" when the data set is ImageNet."""

import torch.nn.functional as F
from torch import nn

from models.backbones import Backbone
from models.configs import SupervisedConfig
from models.method import Batch, Losses, Method, Noises, Phase, Schedule, init_heads


class Supervised(Method[SupervisedConfig]):
    """Cross entropy of one linear layer on globally pooled features, mean over the batch."""

    phases = (Phase("classify", ("backbone", "classifier")),)

    def __init__(
        self, config: SupervisedConfig, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__(config, backbone, image_size, num_classes)
        if num_classes is None:
            raise ValueError("supervised pretraining needs a data set with labels")
        self.classifier = nn.Linear(backbone.num_features, num_classes)
        init_heads(self.classifier)

    def classify(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """Cross entropy and accuracy on the batch."""
        del noise, schedule
        logits = self.classifier(self.backbone(batch.image).mean((-2, -1)))
        loss = F.cross_entropy(logits, batch.label)
        accuracy = (logits.argmax(1) == batch.label).to(logits.dtype).mean()
        return {"loss": loss, "train_top1": accuracy.detach()}
