"""A backbone as a folder that timm opens by itself: weights, `config.json`, and a card that says what they are.

    timm.create_model("local-dir:DIR", pretrained=True)

The same folder pushed to a hub opens with `hf-hub:`. Neither needs this project.
"""
