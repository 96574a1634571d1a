#!/usr/bin/env bash
# Run the whole test suite in a virtual environment of its own:
#
#     bash Testing/run_tests.sh [pytest arguments]
#
# The environment (.venv-test) is made at the first run and again whenever pyproject.toml, this script or the
# interpreter changes. Exit code: that of pytest.
#
# Variables: PYTHON          interpreter to build the environment with (default: the first of python3, python3.12, …
#                            between 3.10 and 3.13)
#            MRH_TEST_TORCH  0 leaves torch out; the tests that need it are then skipped
#            MRH_TEST_JOBS   parallel test processes (default 2)
#            MRH_DATA        folder of real scans for the tests marked "data" (default ../shared/data)
set -euo pipefail
cd "$(dirname "$0")/.."

# The version of torch the suite is run with.
TORCH="torch==2.13.0"
ENVIRONMENT=.venv-test
# What Qt and VTK need to draw without a screen, by Debian's and Ubuntu's package names.
SYSTEM_LIBRARIES="libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core"

say() { printf '%s\n' "$*" >&2; }

pick_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.12 python3.11 python3.13 python3.10; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  say "no Python between 3.10 and 3.13 with venv was found; install one (Debian, Ubuntu: python3-venv) or set PYTHON"
  return 1
}

install_system_libraries() {
  command -v dpkg-query >/dev/null || { say "not a Debian system: the panel's tests need EGL, OpenGL and xkbcommon"; return; }
  local missing=() package
  for package in $SYSTEM_LIBRARIES; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ]; then
    say "installing system libraries: ${missing[*]}"
    if DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 \
      && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2; then
      return 0
    fi
    say "they could not be installed: the panel's tests are skipped if they need them"
  else
    say "missing system libraries; the panel's tests are skipped if they need them. To install them:"
    say "  sudo apt-get install ${missing[*]}"
  fi
}

build_environment() {
  local python=$1 pip=("$ENVIRONMENT/bin/python" -m pip --disable-pip-version-check install --quiet)
  say "building $ENVIRONMENT with $python (some minutes)"
  rm -rf "$ENVIRONMENT"
  "$python" -m venv "$ENVIRONMENT"
  "${pip[@]}" --upgrade pip
  local extras=test,dicom
  if [ "${MRH_TEST_TORCH:-1}" != 0 ]; then
    if "${pip[@]}" "$TORCH"; then
      extras=$extras,torch-test
    else
      say "$TORCH could not be installed: the tests that need torch are skipped"
    fi
  fi
  "${pip[@]}" --editable ".[$extras]"
  "${pip[@]}" --editable ".[slicer-test]" \
    || say "slicer-core or PySide6 has no package for this Python: the panel's tests are skipped"
}

main() {
  local python fingerprint
  python=$(pick_python)
  fingerprint=$({ cat pyproject.toml Testing/run_tests.sh; "$python" -VV; echo "${MRH_TEST_TORCH:-1}"; pwd; } | sha256sum)
  install_system_libraries
  if [ "$(cat "$ENVIRONMENT/fingerprint" 2>/dev/null)" != "$fingerprint" ]; then
    build_environment "$python"
    printf '%s\n' "$fingerprint" >"$ENVIRONMENT/fingerprint"
  fi
  # One thread per process: the processes share the cores, and thread pools of several libraries would fight for them.
  export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1
  export QT_QPA_PLATFORM=offscreen MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=1
  # Whole files go to a process each, in the order of their names: the few long end-to-end runs start early. By default
  # they would come last, because they hold few tests, and the other processes would wait for them.
  exec "$ENVIRONMENT/bin/python" -m pytest -n "${MRH_TEST_JOBS:-2}" --dist loadfile --no-loadscope-reorder "$@"
}

main "$@"
