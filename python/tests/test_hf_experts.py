# SPDX-License-Identifier: Apache-2.0
"""The experts implementation on modules of every trait, and what it makes of activations that it does not know."""
from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import moekit.hf as hf  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_counters(monkeypatch):
    hf.reset_calls()
    monkeypatch.setattr(hf._calls, "_warned", set())  # each test is a first time


def plain_experts(**traits):
    """An experts module of a kind that no family has, under transformers' own decorator."""
    from transformers.integrations.moe import use_experts_implementation

    gated, turned = traits.get("has_gate", True), traits.get("is_transposed", False)
    count, hidden, inner = 3, 5, 4

    class Experts(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.num_experts = count
            width = 2 * inner if gated else inner
            self.register_parameter("gate_up_proj" if gated else "up_proj", torch.nn.Parameter(
                torch.randn(count, *((hidden, width) if turned else (width, hidden)))))
            self.down_proj = torch.nn.Parameter(torch.randn(count, *((inner, hidden) if turned else (hidden, inner))))
            if traits.get("has_bias"):
                self.register_parameter("gate_up_proj_bias" if gated else "up_proj_bias",
                                        torch.nn.Parameter(torch.randn(count, width)))
                self.down_proj_bias = torch.nn.Parameter(torch.randn(count, hidden))
            self.act_fn = config.act

        def forward(self, hidden_states, top_k_index, top_k_weights):
            turn = (lambda m: m) if turned else (lambda m: m.t())
            name, out = "gate_up_proj" if gated else "up_proj", torch.zeros_like(hidden_states)
            for t in range(hidden_states.shape[0]):
                for e, w in zip(top_k_index[t].tolist(), top_k_weights[t]):
                    if e < self.num_experts:
                        up = hidden_states[t] @ turn(getattr(self, name)[e])
                        up = up + getattr(self, name + "_bias")[e] if self.has_bias else up
                        if gated and not self.is_concatenated:
                            up = torch.cat([up[::2], up[1::2]])
                        y = (self._apply_gate(up) if gated and self.is_concatenated else self.act_fn(up[:inner]) *
                             up[inner:] if gated else self.act_fn(up)) @ turn(self.down_proj[e])
                        out[t] += w * (y + self.down_proj_bias[e] if self.has_bias else y)
            return out

    if not traits.get("is_concatenated", True):
        Experts._apply_gate = lambda self, x: self.act_fn(x[..., ::2]) * x[..., 1::2]
    return use_experts_implementation(Experts, **traits)


class Config:
    _experts_implementation = "moekit"

    def __init__(self, act):
        self.act = act


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("form", ["concatenated", "interleaved", "ungated"])
@torch.no_grad()
def test_every_trait(form, transposed, bias):
    torch.manual_seed(0)
    kind = plain_experts(has_gate=form != "ungated", is_concatenated=form != "interleaved", is_transposed=transposed,
                         has_bias=bias)
    functional = torch.nn.functional
    acts = [functional.relu, lambda u: functional.relu(u) ** 2] if form == "ungated" else [functional.silu,
                                                                                           functional.gelu]
    for act in acts:
        experts = kind(Config(act)).eval()
        x, ids, weights = torch.randn(7, 5), torch.randint(0, 3, (7, 2)), torch.rand(7, 2)
        experts.config._experts_implementation = "eager"
        want = experts(x, ids, weights)
        experts.config._experts_implementation = "moekit"
        torch.testing.assert_close(experts(x, top_k_index=ids, top_k_weights=weights.bfloat16().float()),
                                   experts(x, ids, weights.bfloat16()))
        torch.testing.assert_close(experts(x, ids, weights), want)
        with pytest.raises(ValueError, match="3 at row 6, column 1"):
            experts(x, ids.index_put((torch.tensor(6), torch.tensor(1)), torch.tensor(3)), weights)
        experts._is_expert_parallel = True
        for k in (2, 5):  # with other ranks' experts as the sentinel 3; more slots than local experts
            ids, weights = torch.full((7, k), 3), torch.rand(7, k)
            ids[:, k - 2] = torch.arange(7) % 4
            fresh = kind(experts.config).eval()
            fresh._is_expert_parallel = True
            got = fresh(x, ids, weights)
            hf.restore(fresh)
            fresh.config._experts_implementation = "eager"
            torch.testing.assert_close(got, fresh(x, ids, weights))
            fresh.config._experts_implementation = "moekit"
        assert "eager" not in str(hf.calls())


@torch.no_grad()
def test_what_is_not_known_is_eager_and_said_once():
    experts = plain_experts()(Config(torch.tanh)).eval()
    x, ids, weights = torch.randn(4, 5), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1)
    with pytest.warns(UserWarning, match="activation of Experts is not one of moekit's"):
        y = experts(x, ids, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(experts(x, ids, weights), y)
    assert hf.calls() == {"eager: the activation of Experts is not one of moekit's": 2}
    hf.reset_calls()
    known = plain_experts()(Config(torch.nn.functional.silu)).eval()
    with pytest.warns(UserWarning):
        known.double()(x.double(), ids, weights.double())
    assert list(hf.calls()) == ["eager: hidden states have dtype torch.float64"]


def test_activations_of_transformers_are_recognised():
    from moekit.hf._activation import recognise
    from transformers.integrations.finegrained_fp8 import FP8Experts
    from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4Experts
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
    from transformers.models.hy_v4.modeling_hy_v4 import HYV4Experts
    from transformers.models.minimax_m3_vl.modeling_minimax_m3_vl import MiniMaxM3VLExperts

    def bare(kind, **attributes):
        module = torch.nn.Module.__new__(kind)
        torch.nn.Module.__init__(module)
        for name, value in dict(dict(has_gate=True, is_concatenated=True), **attributes).items():
            object.__setattr__(module, name, value)
        return module

    silu = torch.nn.functional.silu
    assert recognise(bare(DeepseekV4Experts, limit=10.0, act_fn=silu)) == {"act": "silu_clamp", "limit": 10.0}
    assert recognise(bare(HYV4Experts, swiglu_limit=10.0)) == {"act": "silu_clamp", "limit": 10.0}
    oai = {"act": "swiglu_oai", "limit": 7.0, "alpha": 1.702, "up_add": 1.0}
    assert recognise(bare(GptOssExperts, limit=7.0, alpha=1.702, is_concatenated=False)) == oai
    assert recognise(bare(GptOssExperts, limit=7.0, alpha=1.702)) is None  # the gate alternates, the trait denies it
    assert recognise(bare(MiniMaxM3VLExperts, swiglu_limit=6.0, swiglu_alpha=1.5)) == {**oai, "limit": 6.0,
                                                                                        "alpha": 1.5}
    fp8 = dict(gate_softcap=None, up_softcap=None, swiglu_alpha=None, swiglu_limit=None, limit=None)
    assert recognise(bare(FP8Experts, act_fn=silu, **fp8)) == {"act": "silu"}
    assert recognise(bare(FP8Experts, act_fn=silu, **{**fp8, "gate_softcap": 30.0, "up_softcap": 30.0})) is None


@torch.no_grad()
def test_parameters_of_two_modules_stay_in_torch():
    """As in Diffusion Gemma, whose encoder and decoder have one set of weights: neither module sees the other's moves."""
    torch.manual_seed(0)
    one, two = (plain_experts()(Config(torch.nn.functional.silu)).eval() for _ in range(2))
    two.gate_up_proj, two.down_proj = one.gate_up_proj, one.down_proj
    x, ids, weights = torch.randn(7, 5), torch.randint(0, 3, (7, 2)), torch.rand(7, 2)
    one.config._experts_implementation = two.config._experts_implementation = "eager"
    want = one(x, ids, weights)
    one.config._experts_implementation = two.config._experts_implementation = "moekit"
    with pytest.warns(UserWarning, match="gate_up_proj is a parameter of another module as well"):
        for experts in (one, two, one, two):
            torch.testing.assert_close(experts(x, ids, weights), want)
    assert two.gate_up_proj is one.gate_up_proj and two.down_proj is one.down_proj
    assert hf.calls() == {"moekit experts": 1, "eager: gate_up_proj is a parameter of another module as well": 3}
