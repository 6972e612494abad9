"""The decision is a pure function, so every machine is tested on this one; what runs here is run."""

import random

import numpy as np
import pytest
import torch

from gptcore import device as device_module
from gptcore.device import Device, Gpu, choose_device, decide, environment_report, seed_everything, set_threads

T4 = Gpu("Tesla T4", (7, 5), trouble="")
A100 = Gpu("NVIDIA A100", (8, 0), trouble="")
P100 = Gpu("Tesla P100", (6, 0), trouble="cuda failed at a first small operation (no kernel image)")
MPS = Gpu("mps", trouble="")
bf16, fp16 = torch.bfloat16, torch.float16


@pytest.mark.parametrize(("name", "precision", "gpu", "device", "dtype", "reason"), [
    ("auto", "auto", Gpu(), "cpu", None, "torch sees no GPU"),
    ("auto", "bf16", Gpu(), "cpu", bf16, "torch sees no GPU"),
    ("cpu", "auto", Gpu(), "cpu", None, "asked for"),
    ("cpu", "bf16", Gpu(), "cpu", bf16, "asked for"),
    ("auto", "auto", P100, "cpu", None, "failed at a first small operation"),
    ("auto", "auto", T4, "cuda", fp16, "7.5 and bf16 units come with 8.0, so fp16 with a gradient scaler"),
    ("cuda:1", "auto", T4, "cuda:1", fp16, "Tesla T4"),
    ("auto", "fp16", T4, "cuda", fp16, "gradient scaler"),
    ("auto", "fp32", T4, "cuda", None, "fp32 was asked for"),
    ("auto", "auto", Gpu("x", (7, 9), ""), "cuda", fp16, "7.9"),
    ("auto", "auto", A100, "cuda", bf16, "8.0 and so bf16 units"),
    ("cuda", "fp16", A100, "cuda", fp16, "fp16 was asked for"),
    ("cuda", "fp32", A100, "cuda", None, "fp32 was asked for"),
    ("auto", "auto", Gpu("B200", (10, 0), ""), "cuda", bf16, "10.0"),
    ("mps", "auto", MPS, "mps", None, "asked for"),
])
def test_decisions(name, precision, gpu, device, dtype, reason):
    chosen = decide(name, precision, gpu)
    assert (chosen.device, chosen.dtype) == (torch.device(device), dtype)
    assert reason in chosen.reason and "\n" not in chosen.reason
    assert chosen.needs_scaler == (dtype is fp16)


@pytest.mark.parametrize(("name", "precision", "gpu", "message"), [
    ("cuda", "auto", Gpu(), "cuda was asked for, but torch sees no GPU; choose auto"),
    ("cuda:0", "auto", P100, "cuda:0 was asked for, but .*no kernel image"),
    ("mps", "auto", Gpu(trouble="torch sees no mps device"), "mps was asked for, but"),
    ("auto", "bf16", T4, "7.5 and bf16 units come with 8.0: .* choose fp16"),
    ("cpu", "fp16", Gpu(), "choose fp32 or bf16"),
    ("auto", "fp16", P100, "choose fp32 or bf16"),
    ("mps", "bf16", MPS, "choose fp32"),
])
def test_what_cannot_be_had_is_refused(name, precision, gpu, message):
    with pytest.raises(ValueError, match=message):
        decide(name, precision, gpu)


@pytest.mark.parametrize(("arguments", "message"), [
    (("tpu",), "'tpu' is unknown; choose auto, cpu, cuda"),
    (("cuda:x",), "is unknown"),
    (("cpu", "int8"), "precision 'int8' is unknown; choose auto, fp32, bf16, fp16"),
])
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_device(*arguments)


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), fp16), ((8, 0), bf16)])
def test_auto_takes_a_gpu_by_its_capability_and_never_by_its_word(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # as a T4 says
    monkeypatch.setattr(device_module, "probe", lambda name: Gpu("some GPU", capability, ""))
    assert (choose_device().device.type, choose_device().dtype) == ("cuda", dtype)
    assert choose_device("cpu").device.type == "cpu"


def test_a_gpu_that_only_claims_to_be_there_is_not_trusted(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("needs a torch that has no GPU, so that the first operation on it really fails")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = choose_device()
    assert chosen.device.type == "cpu" and "cuda failed at a first small operation (" in chosen.reason
    with pytest.raises(ValueError, match="cuda was asked for, but cuda failed"):
        choose_device("cuda")


def test_a_gpu_that_computes_nonsense_is_not_trusted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "full", lambda size, value, device: torch.zeros(size))
    assert device_module.probe("cuda").trouble == "cuda computed 0.0 where 131072 is right"


def test_a_gpu_that_computes_is_described(monkeypatch):
    if torch.cuda.is_available():
        gpu = device_module.probe("cuda")
        assert gpu == Gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), "")
        return
    full = torch.full
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"the GPU at {name}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (9, 0))
    monkeypatch.setattr(torch, "full", lambda size, value, device: full(size, value))
    assert device_module.probe("cuda:0") == Gpu("the GPU at cuda:0", (9, 0), "")


def test_mps_comes_with_a_warning_and_never_by_itself(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().device.type == "cpu"
    monkeypatch.setattr(device_module, "probe", lambda name: Gpu(name, trouble=""))
    with pytest.warns(UserWarning, match="mps computes other numbers"):
        assert choose_device("mps").device.type == "mps"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_computes_in_the_format_and_keeps_the_weights(precision):
    chosen = choose_device("cpu", precision)
    assert chosen.precision == precision
    layer = torch.nn.Linear(4, 4)
    with chosen.autocast():
        y = layer(torch.randn(2, 4))
    assert y.dtype == (bf16 if precision == "bf16" else torch.float32)
    assert layer.weight.dtype == torch.float32
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_printed_device_says_why():
    assert str(Device(torch.device("cpu"), None, "torch sees no GPU")) == "cpu in fp32: torch sees no GPU"


def test_seeds_reach_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(5)
    first = draw()
    seed_everything(6)
    other = draw()
    seed_everything(5)
    assert draw() == first and all(a != b for a, b in zip(first, other))
    seed_everything(0), seed_everything(2**32 - 1)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="out of range"):
            seed_everything(seed)


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == 2 == torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert set_threads() == 1 == torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
        assert set_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "0")
        assert 1 <= set_threads() == torch.get_num_threads()
        monkeypatch.setattr(device_module.os, "sched_getaffinity", lambda pid: {0, 5, 7, 8, 9}, raising=False)
        assert set_threads() == 5
        monkeypatch.delattr(device_module.os, "sched_getaffinity")  # as on a Mac
        monkeypatch.setattr(device_module.os, "cpu_count", lambda: 4)
        assert set_threads() == 4
        monkeypatch.setattr(device_module.os, "cpu_count", lambda: None)
        assert set_threads() == 1
        with pytest.raises(ValueError, match="threads=0"):
            set_threads(0)
    finally:
        torch.set_num_threads(before)


def test_report_tells_the_facts_and_nothing_private():
    report = environment_report(choose_device("cpu", "bf16"))
    assert report["torch"] == torch.__version__ and report["precision"] == "bf16" and report["reason"] == "asked for"
    assert report["threads"] == str(torch.get_num_threads())
    assert set(environment_report()) == set(report)
    text = " ".join(report.values())
    assert "/" not in text and "0x" not in text and device_module.platform.node() not in text
