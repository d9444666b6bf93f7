# The three commands of this project. Each sets up what it needs: a virtual environment in .venv.

PYTHON ?= python3

.PHONY: demo check bench bench-engines bench-scoring browser

# Train on a real table, and leave a model behind.
demo: .venv/installed
	.venv/bin/selectron train examples/penguins.csv --target species

# Everything that CI runs: lint, format, types, tests.
check: .venv/installed-dev .venv-oldest/installed browser
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest --numprocesses 2
	.venv-oldest/bin/pytest --numprocesses 2 -W default -p no:cacheprovider $(OLDEST)

# The figures of the README, as ratios to PyTorch in the same run.
bench: .venv/installed-dev
	.venv/bin/python benchmarks/run.py

# The same on DuckDB, SQLite and PostgreSQL.
bench-engines: .venv/installed-dev
	.venv/bin/python benchmarks/engines.py

# Scoring against orbital, in an environment of its own.
bench-scoring: .venv-scoring/installed
	.venv-scoring/bin/python benchmarks/scoring.py

# Reports are opened in Chromium; where it cannot be installed, those tests are skipped.
browser:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
		|| echo "Chromium is not installed: tests that open a browser are skipped."

# The oldest releases of what it needs, and the tests that run with them.
OLDEST = src tests/store tests/test_bad_input.py tests/test_cli.py tests/test_model.py tests/test_outputs.py \
	tests/test_refusals.py::test_text_that_no_database_takes

.venv-oldest/installed: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable . -r tests/oldest.txt
	touch $@

.venv-scoring/installed: pyproject.toml benchmarks/scoring-requirements.txt
	$(PYTHON) -m venv .venv-scoring
	.venv-scoring/bin/python -m pip install --quiet --editable '.[postgres]' -r benchmarks/scoring-requirements.txt
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@
