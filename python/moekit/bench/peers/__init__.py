# SPDX-License-Identifier: Apache-2.0
"""Peers of the layer suite that live in environments of their own (scripts/bench_peers.sh builds them). The other files
here run there, without moekit: each is a program around one peer that wire.py talks to."""
