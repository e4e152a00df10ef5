# The set-up shared by demo.sh and test.sh, which source this file and call `set_up [extra]` from the repository root.
#
# PYTHON=python3.12 chooses the interpreter; MUJOCO_GL=osmesa or glfw the renderer (egl by default on Linux).
# torch and torchcodec are a pair that was tried together; torchcodec from 0.14 on does not import beside a CPU torch.
TORCH=2.13.0
TORCHCODEC=0.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

if [ "$(uname -s)" = Linux ]; then export MUJOCO_GL="${MUJOCO_GL:-egl}"; fi

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

set_up() {  # [extra]: everything that running from this checkout needs; quick when nothing changed
    local extra="${1:-}"
    choose_python
    say "[1/4] Python: $python ($("$python" -V 2>&1))"
    install_system_packages
    install_python_packages "$extra"
}

choose_python() {  # sets python to the first interpreter that is new enough
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python="$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, found $("${PYTHON:-python3}" -V 2>/dev/null || say none);" \
        "install one and run: PYTHON=python3.12 bash $0"
}

install_system_packages() {  # through apt, and only those whose libraries do not load
    local missing
    if [ "$(uname -s)" != Linux ]; then
        command -v ffmpeg >/dev/null || fail "FFmpeg is missing; run: brew install ffmpeg"
        say "[2/4] System libraries: FFmpeg is here"
        return
    fi
    missing="$(missing_system_packages)"
    if [ -z "$missing" ]; then
        say "[2/4] System libraries: all here"
        return
    fi
    say "[2/4] System libraries: $missing missing; installing through apt takes a minute or two"
    apt_install $missing
}

missing_system_packages() {  # prints the Debian packages that carry what does not load here
    "$python" - <<'EOF'
import ctypes, glob, importlib.util, os, sys

def loads(*names):
    for name in names:
        try:
            return bool(ctypes.CDLL(name))
        except OSError:
            pass
    return False

missing = []
version = f"{sys.version_info.major}.{sys.version_info.minor}"
if not all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")):
    missing.append(f"python{version}-venv")
if not loads(f"libpython{version}.so.1.0"):  # torchcodec links it; Debian's python3 does not bring it
    missing.append(f"libpython{version}")
if not loads(*(f"libavdevice.so.{major}" for major in range(58, 63))):  # FFmpeg 4 to 8, what torchcodec can link
    missing.append("ffmpeg")
if os.environ["MUJOCO_GL"] == "egl":
    if not loads("libEGL.so.1"):
        missing.append("libegl1")
    if not loads("libOpenGL.so.0", "libGL.so.1"):
        missing.append("libgl1")
    if not loads("libEGL_nvidia.so.0"):
        if not loads("libEGL_mesa.so.0"):
            missing.append("libegl-mesa0")
        if not any(glob.glob(f"/usr/{lib}/dri/swrast_dri.so") for lib in ("lib", "lib64", "lib/*")):
            missing.append("libgl1-mesa-dri")
print(*missing)
EOF
}

apt_install() {  # packages...
    local line="apt-get update && apt-get install -y --no-install-recommends $*"
    local quiet="export DEBIAN_FRONTEND=noninteractive; ($line) >/dev/null"
    command -v apt-get >/dev/null || fail "this system has no apt-get; install what Debian calls: $*"
    if [ "$(id -u)" = 0 ]; then
        sh -c "$quiet" || fail "apt failed; to see why, run: $line"
    elif sudo -n true 2>/dev/null; then
        sudo sh -c "$quiet" || fail "apt failed; to see why, run: sudo sh -c '$line'"
    else
        fail "root is needed to install system packages; run this line, then me again: sudo sh -c '$line'"
    fi
}

install_python_packages() {  # [extra]: into .venv, unless it was done for these very files
    local extra="${1:-}" target="." stamp ready
    if [ -n "$extra" ]; then target=".[$extra]"; fi
    stamp=".venv/ready-${extra:-base}"
    ready="$(cat pyproject.toml scripts/setup.sh scripts/constraints.txt | cksum) $PWD"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$ready" ] && .venv/bin/python -c '' 2>/dev/null; then
        say "[3/4] Python packages: .venv is up to date"
        return
    fi
    say "[3/4] Python packages: installing into .venv (minutes the first time)"
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then "$python" -m venv --clear .venv; fi
    install_torch
    say "      vjepa-planner and its libraries, in the versions that were tested"
    if ! pip_install --constraint scripts/constraints.txt --editable "$target"; then
        say "      not all of them are to be had here: taking the newest that pyproject.toml allows"
        pip_install --editable "$target"
    fi
    check_imports
    say "$ready" > "$stamp"
}

pip_install() {  # pip's arguments; the progress is for people, not for logs
    local quiet=--quiet
    if [ -t 1 ]; then quiet=; fi
    .venv/bin/python -m pip install --disable-pip-version-check $quiet "$@"
}

install_torch() {  # the pinned pair, without CUDA where there is no NVIDIA GPU
    local pair="torch==$TORCH torchcodec==$TORCHCODEC"
    local cpu_pair="torch==$TORCH+cpu torchcodec==$TORCHCODEC"
    if .venv/bin/python -c 'import torch, torchcodec.decoders' 2>/dev/null; then
        say "      torch and torchcodec are already in .venv"
    elif [ "$(uname -s)" != Linux ]; then
        say "      $pair"
        pip_install $pair
    elif nvidia-smi -L 2>/dev/null | grep -q GPU; then
        say "      $pair, the CUDA build for the NVIDIA GPU found here (several GB)"
        pip_install $pair
    else
        say "      $cpu_pair, the CPU build: no NVIDIA GPU here (about 200 MB)"
        pip_install $cpu_pair 2>/dev/null && return
        say "      not where pip is configured to look; trying $TORCH_CPU_INDEX"
        pip_install --retries 2 --timeout 30 --extra-index-url "$TORCH_CPU_INDEX" $cpu_pair && return
        say "      no CPU build found: installing the default one, about 5.4 GB and some 20 minutes (Ctrl-C to stop)"
        pip_install $pair
    fi
}

check_imports() {  # what a wrong build or a missing system library would break
    local check
    for check in 'import torch, torchcodec.decoders' 'import mujoco; mujoco.GLContext(8, 8).make_current()'; do
        .venv/bin/python -c "$check" >/dev/null 2>&1 ||
            fail "all was installed, but this does not run here: MUJOCO_GL=${MUJOCO_GL:-} .venv/bin/python -c '$check'"
    done
}
