# SPDX-License-Identifier: Apache-2.0
"""moekit in transformers: whole models of every family, the trained checkpoints, and where the weights are."""
from __future__ import annotations

import copy
import pickle
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
import write_checkpoints  # noqa: E402

# What attention needs where the block tests never ran it: even rotary dimensions, a cache that jamba can have.
ATTENTION = {"deepseek_v2": dict(qk_nope_head_dim=6), "deepseek_v2_greedy": dict(qk_nope_head_dim=6),
             "olmoe": dict(hidden_size=16), "step3p7": dict(sliding_window=8), "jamba": dict(use_cache=False)}
# Eager code that does not run on the tiny configuration, with or without moekit.
BROKEN = {"glm4v_moe": "three-part rotary dimensions", "mistral4": "no rotary dimensions"}
# Families without transformers' hook.
HOOKLESS = {"dbrx", "dbrx_plain", "jetmoe", "llama4", "longcat_flash", "step3p7"}
# What replace_moe refuses, and what the error names.
REFUSED = {"axk1": "post_mlp_layernorm", "dbrx": "stacked", "dbrx_plain": "stacked", "deepseek_v4": "tid2eid",
           "gemma4": "self_attn", "inkling": "global_scale", "jetmoe": "no block", "longcat_flash": "shapes",
           "minimax_m3": "gate_up_proj"}
# Two expert sets, of which text goes to the first, and shared experts beside them.
SETS = "ernie4_5_vl_moe"
CASES = sorted(write_checkpoints.FAMILIES)
TRAINED = ("qwen3_moe_bytes", "deepseek_v3_bytes")


def tiny(case: str, dtype=torch.float32):
    """A random model of the family, whose eager code can run from end to end."""
    prefix, fields = write_checkpoints.FAMILIES[case]
    latent = {"head_dim": fields["qk_rope_head_dim"]} if "qk_rope_head_dim" in fields else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(write_checkpoints.FAMILIES, case, (prefix, {**fields, **latent, **ATTENTION.get(case, {})}))
        return write_checkpoints.make_model(case, dtype)


def use(model, name: str):
    model.set_experts_implementation(name)
    return model


def experts_of(model):
    return [block.experts for block in write_checkpoints.moe_blocks(model).values()]


def tokens(rows: int = 2, length: int = 9, seed: int = 0):
    return torch.randint(0, 30, (rows, length), generator=torch.Generator().manual_seed(seed))


def error(got, want) -> float:
    return ((got.float() - want.float()).norm() / want.float().norm()).item()


def result(output):
    """Logits, or the last hidden state of models without a head."""
    return output.logits if "logits" in output else output.last_hidden_state


@pytest.fixture(autouse=True)
def fresh_counters(monkeypatch):
    hf.reset_calls()
    monkeypatch.setattr(hf._calls, "_warned", set())  # each test is a first time


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_of_whole_models(case):
    if case in BROKEN:
        pytest.skip(f"transformers cannot run it: {BROKEN[case]}")
    model, x = tiny(case), tokens()
    want = model(x, output_router_logits=True)
    blocks = len(write_checkpoints.moe_blocks(model))
    if case not in HOOKLESS:
        use(model, "moekit")
        got = model(x, output_router_logits=True)
        assert hf.calls() == {"moekit experts": blocks}
        assert error(result(got), result(want)) <= 1e-4
        hf.restore(model)
        use(model, "eager")
    if case in REFUSED:
        with pytest.raises(moekit.CheckpointError, match=REFUSED[case]):
            hf.replace_moe(model)
        hf.restore(model)
        assert torch.equal(result(model(x)), result(tiny(case)(x)))
        return
    replaced = hf.replace_moe(model)
    assert len(replaced) == blocks * (3 if case == SETS else 1)
    assert all(isinstance(layer, moekit.MoeLayer) for layer in replaced.values())
    hf.reset_calls()
    for with_router in (False, True):
        got = model(x, output_router_logits=with_router)
        assert error(result(got), result(want)) <= 1e-4
        if with_router and want.get("router_logits"):
            assert len(got.router_logits) == len(want.router_logits) == blocks
            for a, b in zip(got.router_logits, want.router_logits):
                assert error(a, b) <= 1e-4
    assert hf.calls() == {"moekit block": 2 * blocks, **({"moekit shared experts": 2 * blocks} if case == SETS else {})}

    hf.restore(model)  # the very bits
    assert torch.equal(result(model(x)), result(tiny(case)(x)))
    assert "eager" not in str(hf.calls())


@pytest.mark.parametrize("case", ["qwen3_moe", "deepseek_v3", "gpt_oss", "mixtral"])
@torch.no_grad()
def test_bfloat16(case):
    """bfloat16 keeps 8 bits; a token whose router is at an edge may go elsewhere, so single rows are compared."""
    model, x = tiny(case, torch.bfloat16), tokens(4, 16)
    want = model(x).logits
    got = use(model, "moekit")(x).logits
    assert got.dtype == torch.bfloat16 and "moekit experts" in hf.calls()
    rows = (got.float() - want.float()).norm(dim=-1) / want.float().norm(dim=-1)
    assert rows.median() <= 3e-2
    assert {layer.dtype for layer in hf.replace_moe(use(model, "eager")).values()} == {"bfloat16"}
    rows = (model(x).logits.float() - want.float()).norm(dim=-1) / want.float().norm(dim=-1)
    assert rows.median() <= 3e-2


@pytest.mark.parametrize("name", TRAINED)
def test_greedy_text_of_trained_models(name, capsys):
    path = ROOT / "examples" / "models" / name
    prompt = torch.tensor([list(b"The os module ")])

    def generate(model):
        model.generate(prompt, max_new_tokens=2, do_sample=False)
        begin = time.perf_counter()
        text = model.generate(prompt, max_new_tokens=64, min_new_tokens=64, do_sample=False)
        return text[0].tolist(), 64 / (time.perf_counter() - begin)

    def load(experts):
        return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32,
                                                                 experts_implementation=experts).eval()

    want, eager = generate(load("eager"))
    got, ours = generate(load("moekit"))
    assert got == want and set(hf.calls()) == {"moekit experts"}
    model = load("eager")
    hf.replace_moe(model)
    hf.reset_calls()
    got, block = generate(model)
    assert got == want and set(hf.calls()) == {"moekit block"}
    with capsys.disabled():
        print(f"\n{name}: eager {eager:.0f} tokens/s, experts {ours:.0f}, blocks {block:.0f}")


@pytest.mark.parametrize("way", ["experts", "blocks"])
@torch.no_grad()
def test_weights_are_held_once(way):
    model = tiny("deepseek_v3")
    experts = experts_of(model)
    names = [n for n, _ in model.named_parameters() if ".experts." in n or way == "blocks" and ".shared_experts." in n
             and any(f"layers.{i}." in n for i in write_checkpoints.moe_blocks(model))]
    storages = [StorageWeakRef(model.get_parameter(n).untyped_storage()) for n in names]
    total = sum(p.numel() for p in model.parameters())
    hf.replace_moe(model) if way == "blocks" else use(model, "moekit")(tokens())
    assert names and all(ref.expired() for ref in storages)
    assert all(model.get_parameter(n).is_meta for n in names)
    assert {n for n, p in model.named_parameters() if p.is_meta} == set(names)
    assert sum(p.numel() for p in model.parameters()) == total and model.num_parameters() == total
    assert all(not list(e.buffers()) for e in experts)


@pytest.mark.parametrize("way", ["experts", "blocks"])
@pytest.mark.parametrize("case", ["gpt_oss", "deepseek_v3", "mixtral"])
@torch.no_grad()
def test_saving_loading_and_copies_of_packed_models(case, way, tmp_path):
    model, x = tiny(case), tokens()
    state = {name: t.clone() for name, t in model.state_dict().items()}
    want = model(x).logits

    def pack():
        hf.replace_moe(model) if way == "blocks" else use(model, "moekit")(x)
        assert all(e.down_proj.is_meta for e in experts_of(model))

    pack()
    packed = model.state_dict()
    assert packed.keys() == state.keys()
    assert all(torch.equal(packed[name], state[name]) for name in state)
    assert all(e.down_proj.is_meta for e in experts_of(model))  # unpacked for the occasion only

    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, experts_implementation="eager").state_dict()
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)

    twin = copy.deepcopy(model)
    assert error(twin(x).logits, want) <= 1e-4
    hf.restore(twin)
    assert not experts_of(twin)[0].down_proj.is_meta and experts_of(model)[0].down_proj.is_meta
    with pytest.raises(TypeError, match=r"moekit\.hf\.restore"):
        pickle.dumps(model)

    zeros = {name: torch.zeros_like(t) if ".experts." in name else t for name, t in state.items()}
    model.load_state_dict(zeros)
    assert all(not e.down_proj.any() for e in experts_of(model))
    assert error(model(x).logits, want) > 1e-2
    model.load_state_dict(state)
    assert error(model(x).logits, want) <= 1e-4

    model.to(torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    rounded = model(x).logits
    assert rounded.dtype == torch.bfloat16 and "eager" not in str(hf.calls())


@torch.no_grad()
def test_a_new_parameter_in_place_of_a_packed_one():
    model, x = use(tiny("qwen3_moe"), "moekit"), tokens()
    before = model(x).logits
    experts = experts_of(model)[0]
    experts.down_proj = torch.nn.Parameter(torch.zeros_like(experts.down_proj, device="cpu"))
    after = model(x).logits
    assert experts.down_proj.is_meta and error(after, before) > 1e-3
    hf.restore(model)
    assert not experts.down_proj.any() and experts.gate_up_proj.any()
    assert error(use(model, "eager")(x).logits, after) <= 1e-4


@pytest.mark.parametrize("way", ["experts", "blocks"])
def test_training_and_gradients_are_eager(way):
    model, twin, x = tiny("qwen3_moe"), tiny("qwen3_moe"), tokens()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hf.replace_moe(model) if way == "blocks" else use(model, "moekit")
    with torch.no_grad():
        model(x)
    assert experts_of(model)[0].down_proj.is_meta
    with pytest.warns(UserWarning, match="training mode"):
        loss = model.train()(x, labels=x).loss
    loss.backward()
    want = twin.train()(x, labels=x).loss
    want.backward()
    assert torch.equal(loss, want)
    for (name, p), q in zip(model.named_parameters(), twin.parameters()):
        assert (p.grad is None) == (q.grad is None) and (p.grad is None or torch.equal(p.grad, q.grad)), name
    assert experts_of(model)[0].down_proj.grad.any()
    optimizer.step()  # made before the weights moved: it still knows the parameters
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    assert any(path.startswith("eager: the module is in training mode") for path in hf.calls())
    hf.reset_calls()
    with torch.no_grad():
        assert error(model.eval()(x).logits, twin.eval()(x).logits) <= 1e-4
    assert "eager" not in str(hf.calls())
    with pytest.warns(UserWarning, match="use torch.no_grad"):
        model(x).logits.sum().backward()
    assert "eager: gradients are enabled (use torch.no_grad())" in hf.calls()


@torch.no_grad()
def test_replace_moe_refuses_what_it_does_not_know():
    config = transformers.LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                      num_attention_heads=1)
    with pytest.raises(moekit.CheckpointError, match="llama"):
        hf.replace_moe(transformers.LlamaForCausalLM(config))
    model = tiny("mixtral")
    write_checkpoints.moe_blocks(model)[1].register_parameter("more", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(moekit.CheckpointError, match=r"layers\.1\..*more"):
        hf.replace_moe(model)
    hf.restore(model)
    assert not any(p.is_meta for p in model.parameters())
    assert torch.equal(model(tokens()).logits, tiny("mixtral")(tokens()).logits)


@pytest.mark.parametrize("way", ["experts", "blocks"])
@torch.no_grad()
def test_compiled_model(way):
    model, x = tiny("qwen3_moe"), tokens()
    want = model(x).logits
    hf.replace_moe(model) if way == "blocks" else use(model, "moekit")
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        assert error(compiled(x).logits, want) <= 1e-4
    assert "eager" not in str(hf.calls()) and hf.calls()


def test_import_leaves_torch_alone():
    import subprocess

    code = "import sys, moekit; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
