"""The parts of a multi-modal model beside its text: how many parameters, as far as a config.json tells. Pure."""

from orchestrator.fit.fields import Config, number, part
from orchestrator.fit.model import Tower


def towers(config: Config, text_hidden: int) -> tuple[Tower, ...]:
    """``text_hidden`` is the width that a tower's output is projected to. A tower that says too little counts 0."""
    found = [_vision(part(config, name), text_hidden) for name in ("vision_config", "visual") if part(config, name)]
    audio = part(config, "audio_config")
    return tuple(found + ([Tower("audio", _encoder(audio))] if audio else []))


def _vision(vision: Config, text_hidden: int) -> Tower:
    """A vision transformer: its encoder, the patches, the positions, the last norm, and a projection to the text."""
    hidden = number(vision, "hidden_size", "embed_dim", "width")
    patch = number(vision, "patch_size") or 14
    channels = number(vision, "num_channels", "in_channels", "in_chans") or 3
    tokens = (number(vision, "image_size") // patch) ** 2
    inside = _encoder(vision)
    if not inside:
        return Tower("vision")
    outside = hidden * patch * patch * channels + hidden + tokens * hidden + 2 * hidden
    out = number(vision, "out_hidden_size", "projection_dim") or text_hidden
    return Tower("vision", inside + outside + hidden * out + hidden)


def _encoder(config: Config) -> int:
    """Layers of four attention matrices and two of the feed-forward part, with biases and two norms."""
    hidden = number(config, "hidden_size", "embed_dim", "width", "d_model")
    layers = number(config, "num_hidden_layers", "depth", "layers", "encoder_layers")
    width = number(config, "intermediate_size", "encoder_ffn_dim") or 4 * hidden
    return layers * (4 * hidden * (hidden + 1) + 2 * hidden * width + width + hidden + 4 * hidden)
