"""A backbone as a folder that timm opens by itself: weights, `config.json`, and a card that says what they are.

    timm.create_model("local-dir:DIR", pretrained=True)

The same folder pushed to a hub opens with `hf-hub:`. Neither needs this project.
"""

from bench.exported.folder import KEY, Described, check_target, read_folder
from bench.exported.write import Exported, export

__all__ = ["KEY", "Described", "Exported", "check_target", "export", "read_folder"]
