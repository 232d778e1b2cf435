# SPDX-License-Identifier: Apache-2.0
"""moekit in transformers' ERNIE 4.5 VL: whole multimodal models on prompts with images, whose tokens go to the vision
experts."""
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
from hf_models import error, float32_kernels, fresh_counters, write_checkpoints  # noqa: E402,F401

SETS = ("text_moe", "vision_moe")
NAMES = [f"model.language_model.layers.{i}.mlp.{name}" for i in (1, 2) for name in (*SETS, "shared_experts")]
IMAGE, BEGIN, END = 30, 31, 32
VISION = dict(depth=1, hidden_size=8, num_heads=2, intermediate_size=12, patch_size=2)


def make_model():
    """A random model of the multimodal class."""
    text = write_checkpoints.FAMILIES["ernie4_5_vl_moe"][1]
    config = transformers.Ernie4_5_VLMoeConfig(
        text_config=text, vision_config=VISION, image_token_id=IMAGE, image_start_token_id=BEGIN, image_end_token_id=END,
        video_start_token_id=33, video_end_token_id=34, video_token_id=35)
    config._experts_implementation = "eager"
    torch.manual_seed(5)
    model = transformers.Ernie4_5_VLMoeForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0 and "inv_freq" not in name:
                tensor.normal_(std=0.5 if tensor.ndim > 1 else 0.2).add_("norm" in name)
    return model


def prompt(images: bool = True) -> dict:
    """Two rows of text with an image of four tokens each, or of text alone."""
    ids = torch.tensor([[3, 5, BEGIN, *[IMAGE] * 4, END, 7, 9, 11]]).repeat(2, 1)
    ids[1, :2] += 4
    if not images:
        return {"input_ids": torch.where(ids >= IMAGE, 2, ids)}
    pixels = torch.randn(32, 12, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]] * 2),
            "mm_token_type_ids": (ids == IMAGE).int(),
            "moe_mm_token_type_ids": ((ids >= IMAGE) & (ids <= END)).int()}


@pytest.mark.parametrize("images", [True, False])
@torch.no_grad()
def test_logits_of_whole_models(images):
    model, inputs = make_model(), prompt(images)
    want = model(**inputs, output_router_logits=True)
    sets = 2 if images else 1
    model.set_experts_implementation("moekit")
    assert error(model(**inputs).logits, want.logits) <= 1e-4
    assert hf.calls() == {"moekit experts": 2 * sets}
    hf.restore(model)
    model.set_experts_implementation("eager")
    assert torch.equal(model(**inputs).logits, want.logits)

    layers = hf.replace_moe(model)
    assert list(layers) == NAMES
    assert [layer.config["expert"]["intermediate"] for layer in layers.values()] == [11, 5, 22] * 2
    hf.reset_calls()
    got = model(**inputs, output_router_logits=True)
    assert error(got.logits, want.logits) <= 1e-4
    for a, b in zip(got.router_logits, want.router_logits, strict=True):
        assert error(a, b) <= 1e-4
    assert hf.calls() == {"moekit block": 2 * sets, "moekit shared experts": 2}
    hf.restore(model)
    assert torch.equal(model(**inputs).logits, want.logits)


@torch.no_grad()
def test_block_with_its_mask():
    """Any mask: the block sends each token to its set, and adds the shared experts to all of them."""
    model = make_model()
    block = model.model.language_model.layers[1].mlp
    x = torch.randn(3, 7, 19)
    masks = [None, torch.zeros(3, 7), torch.ones(3, 7), *(torch.rand(3, 7).round() * 2 for _ in range(4))]
    want = [block(x, mask) for mask in masks]
    hf.replace_moe(model)
    for mask, (y, logits) in zip(masks, want):
        got = block(x, mask)
        assert got[0].shape == y.shape and error(got[0], y) <= 1e-5
        assert error(got[1], logits) <= 1e-5
    assert "eager" not in str(hf.calls())


@pytest.mark.parametrize("way", ["experts", "blocks"])
@torch.no_grad()
def test_weights_are_held_once_and_saved(way, tmp_path):
    model, inputs = make_model(), prompt()
    want, state = model(**inputs).logits, {name: t.clone() for name, t in model.state_dict().items()}
    if way == "blocks":
        hf.replace_moe(model)
    else:
        model.set_experts_implementation("moekit")
        model(**inputs)
    moved = {name for name, p in model.named_parameters() if p.is_meta}
    assert moved == {name for name in state if "_moe.experts." in name
                     or way == "blocks" and ".shared_experts." in name}
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    model.save_pretrained(tmp_path)  # in the published layout
    again = type(model).from_pretrained(tmp_path, dtype=torch.float32, experts_implementation="eager")
    assert all(torch.equal(t, state[name]) for name, t in again.state_dict().items())
    assert error(again(**inputs).logits, want) <= 1e-6
    for name in SETS:
        layer = moekit.load_layer(tmp_path, 1, experts=name)
        assert layer.config["expert"]["intermediate"] == (11 if name == "text_moe" else 5)


@torch.no_grad()
def test_bfloat16(tmp_path):
    """Routers stay float32, as the class asks for; where rounding moves a token elsewhere, single rows differ."""
    make_model().save_pretrained(tmp_path)
    load = transformers.Ernie4_5_VLMoeForConditionalGeneration.from_pretrained
    model, inputs = load(tmp_path, dtype=torch.bfloat16, experts_implementation="eager").eval(), prompt()
    assert model.model.language_model.layers[1].mlp.vision_moe.gate.weight.dtype == torch.float32
    want = model(**inputs).logits.float()
    assert {layer.dtype for layer in hf.replace_moe(model).values()} == {"bfloat16"}
    rows = (model(**inputs).logits.float() - want).norm(dim=-1) / want.norm(dim=-1)
    assert rows.median() <= 3e-2 and "eager" not in str(hf.calls())


@pytest.mark.parametrize("way", ["experts", "blocks"])
def test_greedy_text_after_an_image(way):
    model, inputs = make_model(), prompt()
    want = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    hf.replace_moe(model) if way == "blocks" else model.set_experts_implementation("moekit")
    assert torch.equal(model.generate(**inputs, max_new_tokens=8, do_sample=False), want)
    assert "eager" not in str(hf.calls()) and hf.calls()


def test_training_is_eager():
    model, twin, inputs = make_model(), make_model(), prompt()
    hf.replace_moe(model)
    with pytest.warns(UserWarning, match="training mode"):
        loss = model.train()(**inputs, labels=inputs["input_ids"]).loss
    want = twin.train()(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    want.backward()
    assert torch.equal(loss, want)
    for (name, p), q in zip(model.named_parameters(), twin.parameters()):
        assert (p.grad is None) == (q.grad is None) and (p.grad is None or torch.equal(p.grad, q.grad)), name


@torch.no_grad()
def test_quantised_while_weights_move(float32_kernels):  # noqa: F811
    model, inputs = make_model(), prompt()
    want = model(**inputs).logits
    assert {layer.dtype for layer in hf.replace_moe(model, "int8").values()} == {"int8"}
    got = model(**inputs).logits
    assert error(got, want) > 1e-3 and "eager" not in str(hf.calls())
    hf.restore(model)  # the converted values come back
    assert error(got, model(**inputs).logits) <= 1e-4


@pytest.mark.parametrize("original", [True, False])
@torch.no_grad()
def test_blocks_from_files(original, tmp_path):
    """Sets come from the files, in either layout; shared experts stand beside them in the model."""
    model, inputs = make_model(), prompt()
    want, state = model(**inputs).logits, {name: t.clone() for name, t in model.state_dict().items()}
    model.save_pretrained(tmp_path / "files", save_original_format=original)
    layers = hf.replace_moe(model, path=tmp_path / "files")
    assert list(layers) == NAMES and error(model(**inputs).logits, want) <= 1e-4
    assert hf.calls() == {"moekit block": 4, "moekit shared experts": 2}
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    hf.restore(model)
    assert torch.equal(model(**inputs).logits, want)
    moekit.convert(tmp_path / "files", tmp_path / "converted")
    with pytest.raises(moekit.UnsupportedError, match="its layers hold shared experts"):
        hf.replace_moe(model, path=tmp_path / "converted")
    hf.restore(model)
    assert torch.equal(model(**inputs).logits, want)


@torch.no_grad()
def test_shared_experts_that_are_not_understood():
    model, inputs = make_model(), prompt()
    want = model(**inputs).logits
    block = model.model.language_model.layers[2].mlp
    block.shared_experts.register_parameter("more", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(moekit.CheckpointError, match=r"layers\.2\.mlp\.shared_experts\.more is not understood"):
        hf.replace_moe(model)
    hf.restore(model)
    assert not any(p.is_meta for p in model.parameters())
    assert torch.equal(model(**inputs).logits, want)


@torch.no_grad()
def test_weights_put_in_later_are_used():
    model, inputs = make_model(), prompt()
    hf.replace_moe(model)
    torch.manual_seed(7)
    fresh = {name: torch.randn_like(t) * 0.3 if "experts" in name else t for name, t in model.state_dict().items()}
    model.load_state_dict(fresh)
    got = model(**inputs).logits
    assert "eager" not in str(hf.calls())
    hf.restore(model)
    assert error(got, model(**inputs).logits) <= 1e-4
