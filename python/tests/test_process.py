# SPDX-License-Identifier: Apache-2.0
"""Threads, fork, exit and interrupts."""
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import moekit


def python(code, timeout=60, **kwargs):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=timeout, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def test_many_threads_on_one_layer_give_the_serial_bits():
    moe = moekit.MoE(4, 33, 17, seed=1)
    inputs = [np.random.default_rng(i).standard_normal((1 + 13 * i % 40, 33)).astype(np.float32) for i in range(16)]
    expected, wrong = [moe(x) for x in inputs], []

    def work(i):
        for n in range(200):
            x = (i + n) % len(inputs)
            if not np.array_equal(moe(inputs[x]), expected[x]):
                wrong.append((i, n))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_thread_count_does_not_change_bits():
    moe, x = moekit.MoE(8, 200, 150), np.random.default_rng(0).standard_normal((50, 200)).astype(np.float32)
    default = moekit.get_num_threads()
    assert default >= 1
    try:
        results = []
        for n in (1, 2, 3, 7):
            moekit.set_num_threads(n)
            assert moekit.get_num_threads() == n
            results.append(moe(x))
        assert all(np.array_equal(r, results[0]) for r in results)
    finally:
        moekit.set_num_threads(0)
    assert moekit.get_num_threads() == default


def test_gil_is_released_during_long_calls():
    moe, x = moekit.MoE(16, 1024, 1024), np.ones((1024, 1024), np.float32)
    running, ticks = threading.Event(), []

    def call():
        running.set()
        for _ in range(3):
            moe(x)
        running.clear()

    worker = threading.Thread(target=call)
    worker.start()
    running.wait()
    begin = time.perf_counter()
    while running.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0)
    span = time.perf_counter() - begin
    worker.join()
    # With the GIL held through a call, this thread would move at most between the three of them.
    assert len(ticks) > 20, (len(ticks), span)


@pytest.mark.parametrize("torch", [False, True])
def test_fork_after_use(torch):
    done = python(f"""
        import os, sys, numpy as np, moekit
        moekit.set_num_threads(3)
        moe, x = moekit.MoE(8, 256, 256), np.ones((64, 256), np.float32)
        if {torch}:
            import torch
            x = torch.from_numpy(x)
        y = moe(x)
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if bool((moe(x) == y).all()) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bool((moe(x) == y).all())
    """, timeout=120)
    assert done.returncode == 0, done.stderr


def test_exit_while_another_thread_computes():
    for _ in range(5):
        done = python("""
            import threading, numpy as np, moekit
            moe, x = moekit.MoE(8, 512, 512), np.ones((512, 512), np.float32)
            def forever():
                while True: moe(x)
            for _ in range(2): threading.Thread(target=forever, daemon=True).start()
            moe(x)
        """)
        assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_a_loop_of_calls():
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent("""
        import signal, numpy as np, moekit
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit it ignored
        moe, x = moekit.MoE(8, 256, 256), np.ones((128, 256), np.float32)
        y = moe(x)
        print("ready", flush=True)
        try:
            while True: moe(x)
        except KeyboardInterrupt:
            assert np.array_equal(moe(x), y)
            print("interrupted")
    """)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert out == "interrupted\n" and process.returncode == 0, error
