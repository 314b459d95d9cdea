# shellcheck shell=bash
# What setup, build, espalier and test share: where things are, which LibTorch is used, how messages look. Sourced only.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cache=$root/.cache
stamp=$cache/setup.stamp
model_folder=$root/models/smollm2-135m
model_file=$model_folder/SmolLM2-135M-Instruct.Q4_1.gguf

program=$(basename "$0")
say() { printf '%s: %s\n' "$program" "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# git refuses a checkout that another user owns (a container that runs as root on a mounted folder). Whoever runs these
# scripts trusts the checkout already.
if [ -z "${GIT_CONFIG_COUNT:-}" ] && ! [ -O "$root" ]; then
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$root
fi

# "2.13.0" of the LibTorch in folder $1; empty when it is none.
torch_version() {
  local header=$1/include/torch/headeronly/version.h
  [ -f "$header" ] || return 0
  awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ { part[$2] = $3 }
       END { print part["TORCH_VERSION_MAJOR"] "." part["TORCH_VERSION_MINOR"] "." part["TORCH_VERSION_PATCH"] }' "$header"
}

torch_is_usable() {
  [ -f "$1/include/ATen/ATen.h" ] && [ -f "$1/lib/libtorch_cpu.so" ] && [ -f "$1/lib/libc10.so" ] || return 1
  case $(torch_version "$1") in 2.11.* | 2.12.* | 2.13.* | 2.14.* | 2.15.*) return 0 ;; esac
  return 1
}

# The LibTorch that the user names; empty when none is named, an error when the one named is of no use.
named_torch() {
  local folder=${ESPALIER_TORCH:-} source=ESPALIER_TORCH found
  if [ -z "$folder" ] && [ -n "${Torch_DIR:-}" ]; then
    folder=$Torch_DIR/../../..
    source=Torch_DIR
  fi
  [ -n "$folder" ] || return 0
  if ! torch_is_usable "$folder"; then
    found=$(torch_version "$folder")
    fail "$source names $folder: ${found:+LibTorch $found there; }expected a folder with include/ and lib/ of" \
      "LibTorch 2.11 to 2.15"
  fi
  (cd "$folder" && pwd)
}

# The torch of the virtual environment $1, if it has a usable one.
environment_torch() {
  local folder
  for folder in "$1"/lib/python3*/site-packages/torch; do
    if torch_is_usable "$folder"; then
      printf '%s\n' "$folder"
      return 0
    fi
  done
}

# The LibTorch to build with: the named one, else that of .venv, else that of the active environment. The same order as
# cmake/EspalierTorch.cmake.
find_torch() {
  local found
  found=$(named_torch) || exit 1
  [ -n "$found" ] || found=$(environment_torch "$root/.venv")
  if [ -z "$found" ] && [ -n "${VIRTUAL_ENV:-}" ]; then
    found=$(environment_torch "$VIRTUAL_ENV")
  fi
  printf '%s\n' "$found"
}

# One text that changes whenever setup has something to do: its own files, the choice of LibTorch, the model file.
setup_state() {
  local torch
  torch=$(find_torch) || exit 1
  [ -n "$torch" ] || return 0
  cat "$root/scripts/setup" "$root/scripts/common.sh" "$root/scripts/packages.txt" "$root"/scripts/pinned/* | sha256sum
  printf 'torch %s %s\n' "$torch" "$(torch_version "$torch")"
  printf 'model %s\n' "$(stat -L -c '%s %Y' "$model_file" 2>/dev/null || echo none)"
}

setup_is_current() {
  local state
  state=$(setup_state) || exit 1
  [ -n "$state" ] && [ -f "$stamp" ] && [ "$state" = "$(cat "$stamp")" ]
}

# Holds lock $1 on descriptor 9 until the script ends; says so when somebody else has it.
take_lock() {
  mkdir -p "$cache"
  exec 9>"$cache/$1.lock"
  if ! flock -n 9; then
    say "waiting for another $1 in this folder"
    flock 9
  fi
}
