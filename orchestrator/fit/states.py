"""Layers that keep a state of fixed size: gated delta networks and Mamba, their matrices and their state. Pure."""

from collections.abc import Iterator

from orchestrator.fit.fields import Config, number, real, word

_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


def state_bytes(config: Config) -> int:
    """Bytes a request of one layer, over all cards: the convolution's last inputs and the recurrent state; or 0."""
    width = _WIDTHS.get(word(config, "torch_dtype", "dtype"), 2)
    state_width = _WIDTHS.get(word(config, "mamba_ssm_dtype"), width)
    if heads := number(config, "linear_num_value_heads"):
        keys, values = _delta_widths(config)
        conv = (2 * keys + values) * (number(config, "linear_conv_kernel_dim") - 1)
        size = number(config, "linear_key_head_dim") * number(config, "linear_value_head_dim")
        return conv * width + heads * size * state_width
    state = _state(config)
    if not state:
        return 0
    inner = _inner(config)
    mixed = inner + 2 * _groups(config) * state if _heads(config) else inner
    return mixed * (_kernel(config) - 1) * width + inner * state * state_width


def state_matrices(config: Config) -> Iterator[tuple[str, int, int]]:
    """(name, rows, columns) of one layer; an empty name for what no quantization converts."""
    hidden = number(config, "hidden_size", "d_model")
    if heads := number(config, "linear_num_value_heads"):
        keys, values = _delta_widths(config)
        yield "in_proj_qkvz", 2 * keys + 2 * values, hidden
        yield "in_proj_ba", 2 * heads, hidden
        yield "", (2 * keys + values) * number(config, "linear_conv_kernel_dim") + 2 * heads, 1
        yield "", number(config, "linear_value_head_dim"), 1
        yield "out_proj", hidden, values
        return
    inner, state, kernel = _inner(config), _state(config), _kernel(config)
    yield "out_proj", hidden, inner
    if heads := _heads(config):
        mixed = inner + 2 * _groups(config) * state
        yield "in_proj", inner + mixed + heads, hidden
        yield "", mixed * (kernel + 1) + 3 * heads + inner, 1
        return
    rank = number(config, "mamba_dt_rank", "time_step_rank", "dt_rank") or -(-hidden // 16)
    yield "in_proj", 2 * inner, hidden
    yield "x_proj", rank + 2 * state, inner
    yield "dt_proj", inner, rank + 1
    yield "", inner * (kernel + 1) + inner * state + inner, 1


def _delta_widths(config: Config) -> tuple[int, int]:
    keys = number(config, "linear_num_key_heads") * number(config, "linear_key_head_dim")
    return keys, number(config, "linear_num_value_heads") * number(config, "linear_value_head_dim")


def _heads(config: Config) -> int:
    """Mamba 2 has heads, Mamba 1 has none."""
    given = number(config, "mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    return given or (number(config, "num_heads") if word(config, "model_type") == "mamba2" else 0)


def _inner(config: Config) -> int:
    hidden = number(config, "hidden_size", "d_model")
    given = number(config, "mamba_d_ssm", "mamba_intermediate_size")
    if heads := _heads(config):
        each = number(config, "mamba_d_head", "mamba_head_dim", "mamba_headdim")
        each = each or (number(config, "head_dim") if word(config, "model_type") == "mamba2" else 0)
        if each:
            return heads * each
    return given or round(hidden * (real(config, "mamba_expand", "expand") or 2))


def _kernel(config: Config) -> int:
    return number(config, "mamba_d_conv", "conv_kernel", "d_conv", "conv_kernel_size") or 4


def _state(config: Config) -> int:
    return number(config, "mamba_d_state", "ssm_state_size", "state_size", "d_state")


def _groups(config: Config) -> int:
    return number(config, "mamba_n_groups", "n_groups", "mamba_ngroups") or 1
