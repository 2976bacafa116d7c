"""What `batchling --help` prints."""

from __future__ import annotations

HELP = """\
Run a Python function with its LLM API calls sent at batch prices.

usage: batchling SCRIPT.py:FUNCTION [ARGUMENT ...] [OPTION ...]
       batchling demo [--rows N]
       batchling providers [--markdown | --summary]
       batchling jobs [--refresh] [--json]
       batchling show ID
       batchling watch
       batchling collect [--once] [--cache-no-results]
       batchling cancel ID | --all [--yes]
       batchling cache [prune --older-than 30d]
       batchling doctor [URL]

The script is loaded, then the function is called (awaited, if it is async)
inside `with batchify(...)`. Its return value is printed, unless it is None.

  batchling classify.py:main tickets.csv --rows 500
  batchling classify.py:main tickets.csv --dry-run
  batchling agent.py:run --batch-window-seconds 30 -- --cache is-for-run

options (anywhere before --):
  --batch-size N                      submit a queue once it holds N requests
                                      (default: the provider's maximum)
  --batch-window-seconds S            or S seconds after its first (default: 2)
  --batch-poll-interval-seconds S     how often a job is polled (default: 10)
  --dry-run                           send no batch; make up the answers
  --cache, --no-cache                 keep records and results on disk, or not
                                      (default: keep)
  --cache-no-results                  keep only records: a later run downloads
                                      the answers again
  --max-resubmissions N               how many times a request that never ran is
                                      submitted again (default: 2)
  --max-batches-in-flight N           batches under way at a time, per account
  --max-batches-per-hour N            batches created in an hour, per account
                                      (defaults: the provider's limits)
  --max-waiting N                     calls that wait for an answer at a time;
                                      further ones wait before they are queued
  --display auto|live|plain|off       what stderr shows during the run (default:
                                      auto: live on a terminal, else few lines)
  --budget-usd D                      spend at most D US dollars on batches;
                                      requests over it are not sent and get 402
  --receipt FILE.json                 write what was answered, and what it cost
  --version, --help

arguments of the function:
  VALUE                a positional argument
  --name VALUE         a keyword argument; dashes in the name become underscores
  --name=VALUE         the same
  --flag               True, where another option or nothing follows, or where
                       the parameter is annotated bool
  --                   everything after it belongs to the function
Values are strings, unless the parameter is annotated int, float or bool.

jobs, whichever program submitted them
(ID: a batch's id or its beginning, or a job's id):
  jobs                 list them, newest first, as the cache folder knows them;
                       asks the providers only with --refresh
  show ID              all that is known about one, and what to do next
  watch                follow those that programs wait for; Ctrl-C ends it
  collect              finish what no program waits for any more and store the
                       answers, so the same program finds them there; waits for
                       the end, or with --once takes what is ready (for cron)
  cancel               stop jobs, and wait for the provider to confirm; what has
                       been answered by then is stored
  cache                where the cache is, and what it holds
  cache prune          remove what ended longer ago than 12h, 30d or 8w; never
                       what is running
  doctor               what is hooked, installed and set; what would happen to
                       calls to URL
Credentials come from the SDKs' variables: OPENAI_API_KEY and so on.

environment:
  BATCHLING_CACHE_DIR  the cache folder (default: the platform's)
  BATCHLING_GATEWAYS   further base URLs, as http://localhost:4000=openai,...
  BATCHLING_GCS_PREFIX where Vertex batches keep files, as gs://bucket/folder
  BATCHLING_AZURE_DEPLOYMENTS
                       real-time to batch deployments, as gpt-5=gpt-5-batch,...

Ctrl-C leaves at once; jobs keep running at the provider, and the same command
collects their answers.
exit status: 0 done, 1 the function raised, 2 wrong usage, 130 interrupted;
  of collect: 0 nothing is left, 1 something could not be collected, 3 something
  is still running (with --once); of cancel: 0 all confirmed, 1 not all"""
