# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it: Debian packages, a virtual environment and the moekit package, each only when it is
# not there yet. Everything lands in .venv and build/, nothing outside the tree but Debian packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 DEBIAN_FRONTEND=noninteractive
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

BUILD_PACKAGES=(g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev python3 python3-venv python3-dev)
venv=.venv

say() { printf '\n==> %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    install -y --no-install-recommends "$@" </dev/null
}

# need_packages NAME...: installs the Debian packages that are missing, with fresh lists only if the old ones do not do.
need_packages() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "not a Debian system: taking for granted what these packages give: $*"
    return
  fi
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "these Debian packages are missing, and there is neither root nor sudo to install them: ${missing[*]}"
  say "Debian packages: ${missing[*]}"
  # Lists may be absent or so old that the files they name are gone: the second try has fresh ones.
  apt_install "${missing[@]}" >build/apt.log 2>&1 && return
  as_root apt-get -o Acquire::Retries=3 update </dev/null >>build/apt.log 2>&1 ||
    echo "some package lists could not be refreshed (build/apt.log)"
  apt_install "${missing[@]}" >>build/apt.log 2>&1 || {
    tail -n 20 build/apt.log >&2
    fail "apt-get could not install ${missing[*]}"
  }
}

# The first Python that is new enough and complete: a version manager's python3, or Debian's own.
find_python() {
  local candidate
  for candidate in "${MOEKIT_PYTHON:-python3}" /usr/bin/python3; do
    if "$candidate" - >/dev/null 2>&1 <<'PYTHON'; then
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info >= (3, 11) and os.path.exists(header)))
PYTHON
      echo "$candidate"
      return
    fi
  done
  fail "no Python >= 3.11 with venv and headers: tried ${MOEKIT_PYTHON:-python3} and /usr/bin/python3" \
    "(Debian: python3 python3-venv python3-dev; or set MOEKIT_PYTHON)"
}

# need_python REQUIREMENTS: the virtual environment with these requirements. A stamp makes the second run quick.
need_python() {
  local requirements=$1 python stamp
  if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    python=$(find_python)
    say "virtual environment $venv ($("$python" --version))"
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  stamp="$venv/$(basename "$requirements").$(cat scripts/requirements-*.txt | sha256sum | cut -c 1-16)"
  [ ! -e "$stamp" ] || return 0
  say "Python packages of $requirements"
  # Of the thousands of modules that come along few are imported: those are compiled then.
  "$venv/bin/python" -m pip install --quiet --no-compile --retries 5 -r "$requirements" </dev/null
  touch "$stamp"
}

# A CUDA compiler: the machine's own, or NVIDIA's wheels in a folder beside the environment's packages, as torch brings
# other releases of some of them. CMake looks there too (cmake/moekit_cuda.cmake).
need_nvcc() {
  local stamp folder="$venv/nvcc" nvcc
  for nvcc in nvcc "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
    if command -v "$nvcc" >/dev/null; then return; fi
  done
  need_python scripts/requirements-build.txt
  stamp="$folder/stamp.$(sha256sum scripts/requirements-nvcc.txt | cut -c 1-16)"
  [ ! -e "$stamp" ] || return 0
  say "nvcc from Python wheels"
  rm -rf "$folder"
  "$venv/bin/python" -m pip install --quiet --retries 5 --no-deps --target "$folder" -r scripts/requirements-nvcc.txt </dev/null
  touch "$stamp"
}

# need_moekit [FOLDER]: builds the Python package (incrementally, in FOLDER) and installs it as a user's pip would.
need_moekit() {
  say "moekit's Python package"
  "$venv/bin/python" -m pip install --quiet --no-build-isolation --no-deps --force-reinstall \
    --config-settings=build-dir="${1:-build/python}" . </dev/null
}

mkdir -p build
