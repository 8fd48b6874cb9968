# Finds a Python that has the modules: the system's own where another one (pyenv, conda) is first on the path.
import importlib.util
import os
import subprocess
import sys

SYSTEM_PYTHON = "/usr/bin/python3"
MARK = "MEGAPIPE_CRANK_REEXECUTED"


def require(needed, wanted=()):
    """Goes on with the system's Python if only that has the modules; says what is missing and ends if none has."""
    missing = [name for name in (*needed, *wanted) if importlib.util.find_spec(name) is None]
    if missing and MARK not in os.environ and os.path.exists(SYSTEM_PYTHON):
        probe = subprocess.run([SYSTEM_PYTHON, "-c", "import " + ", ".join(missing)], capture_output=True, check=False)
        if probe.returncode == 0:
            os.environ[MARK] = "1"  # once only
            os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
    os.environ.pop(MARK, None)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        packages = {"yaml": "python3-yaml", "matplotlib": "python3-matplotlib"}
        sys.exit(f"Missing Python modules: {', '.join(missing)}. "
                 f"Debian and Ubuntu: apt-get install {' '.join(packages[name] for name in missing)}")
