# The course: run it, test it, change it. `make help` lists the commands.
#
# Every command makes .venv first if it is missing or out of date. It needs
# Python 3.11 (3.11.5 or later), 3.12 or 3.13 with its venv module; name one
# that is not found by itself with PYTHON=/path/to/python.

SHELL = /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test lab notebooks pages data bench check clean environment

# WEEK=2, PROFILE=full, SEED=7 and JOBS=4 become options of the command line.
OPTIONS = $(if $(WEEK),--week $(WEEK)) $(if $(PROFILE),--profile $(PROFILE)) \
	$(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))
COURSEWARE = .venv/bin/python -m courseware

MADE = _build/notebooks _build/failed _build/html _build/temporary \
	_build/doctrees _build/cache _build/*.json .pytest_cache .ruff_cache

# Finds a Python that the course can use, its own first, and goes over to it.
with_python = for python in $(PYTHON) $(if $(PYTHON),,.venv/bin/python \
		python3 python3.13 python3.12 python3.11 python); do \
	if $$python -c 'import sys, venv; \
		sys.exit(not (3, 11, 5) <= sys.version_info < (3, 14))' \
		2>/dev/null; then \
		exec $$python $(1); \
	fi; \
done

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | \
		awk -F '|' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo 'run takes WEEK=2 (one week), PROFILE=full (MNIST and published' \
		'settings), SEED=7; run, notebooks and test take JOBS=4'

run: environment  ## execute every notebook afresh and make the course pages from them
	@$(COURSEWARE) run $(OPTIONS)

test: environment  ## check style, code, notebooks and every number in them
	@$(COURSEWARE) test $(if $(JOBS),--jobs $(JOBS))

lab: environment  ## open the start page in JupyterLab
	@$(COURSEWARE) lab

notebooks: environment  ## for authors: bring the .ipynb up to date with their .py
	@$(COURSEWARE) notebooks $(if $(JOBS),--jobs $(JOBS))

pages: environment  ## make the course pages from the committed outputs
	@$(COURSEWARE) publish

check: environment  ## for authors: the rules that notebooks keep, in seconds
	@$(COURSEWARE) check

data: environment  ## generate the bundled data again, to the same bytes
	@.venv/bin/python -m advml.ising data

bench: environment  ## print the benchmark tables
	@.venv/bin/python -m courseware.bench

clean:  ## remove what the commands made, except .venv
	@$(call with_python,src/courseware/environment.py sh -c 'rm -rf $(MADE)'); \
	rm -rf $(MADE)  # Without a Python nothing else can be running.

# Makes or updates .venv. With nothing to do it takes a tenth of a second.
environment:
	@$(call with_python,src/courseware/environment.py); \
	echo 'No suitable Python: the course needs Python 3.11 (3.11.5 or' \
		'later), 3.12 or 3.13 with its venv module (Debian, Ubuntu:' \
		'apt-get install python3-venv). If you have one elsewhere,' \
		'name it: make run PYTHON=/path/to/python' >&2; \
	exit 1
