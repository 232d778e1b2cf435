#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generates text with a small trained MoE model, every MoE layer in moekit. Sets up all it needs on a fresh Debian 12
# machine: bash scripts/demo.sh [arguments of `moekit demo`]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
need_packages "${BUILD_PACKAGES[@]}"
need_python scripts/requirements-build.txt
need_moekit
say "moekit demo"
exec "$venv/bin/moekit" demo "$@"
