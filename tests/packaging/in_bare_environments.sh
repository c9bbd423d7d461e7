#!/usr/bin/env bash
# Builds sdist and wheel into dist/, checks them, installs each in an environment of its own, and runs tests from the
# unpacked sdist. `make test-package` calls it with the Python that has the extra `dev`.
set -euo pipefail
python="$1"
cd "$(dirname "$0")/../.."
read -r -a constraints <<< "${CONSTRAINTS:-}"
if [ "${#constraints[@]}" -gt 0 ]; then constraints=(-c "$PWD/constraints.txt"); fi
temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT

echo "== build, twice"
rm -rf dist
"$python" -m build --outdir dist . > "$temporary/log" || { cat "$temporary/log"; exit 1; }
"$python" -m build --outdir "$temporary/again" . > "$temporary/log" || { cat "$temporary/log"; exit 1; }
(cd dist && sha256sum -- *) | tee "$temporary/sums"
(cd "$temporary/again" && sha256sum --quiet -c "$temporary/sums")
"$python" -m twine check --strict dist/*

for file in dist/*.whl dist/*.tar.gz; do
    echo "== install $file"
    bare="$temporary/environment-$(basename "$file")"
    "$python" -m venv "$bare"
    "$bare/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" torch
    "$bare/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" "$file"
    "$bare/bin/python" -m pip check
    (cd "$temporary" && "$bare/bin/lightning-lr" --version && "$bare/bin/lightning-lr" demo --curve overfitting)
    (cd "$temporary" && "$bare/bin/python" -W error -c "
from pathlib import Path
import lightning_lr
assert all(getattr(lightning_lr, name) is not None for name in lightning_lr.__all__)
assert (Path(lightning_lr.__file__).parent / 'tensorboard_plugin/static/index.js').is_file()
print('imported', lightning_lr.__version__)")
done

echo "== tests from the sdist"
tar xzf dist/*.tar.gz -C "$temporary"
cd "$temporary"/lightning_lr-*/
"$bare/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" \
    pytest pytest-timeout hypothesis scikit-learn
"$bare/bin/python" -m pytest -q -p no:cacheprovider ${TESTS:-tests/engine tests/offline tests/callbacks tests/test_architecture.py}
