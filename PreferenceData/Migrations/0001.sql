-- What was said, by whom, which of two was preferred, and what runs made of it. Ids are content hashes, never row numbers.
CREATE TABLE prompt (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE completion (
    id TEXT PRIMARY KEY,
    prompt TEXT NOT NULL REFERENCES prompt(id),
    content TEXT NOT NULL,
    author TEXT,                -- content hash or name of the model; NULL: unknown or a person
    seed INTEGER,
    sampling TEXT,              -- JSON
    log_probs BLOB              -- Float64 per token, nats, as sampled
) WITHOUT ROWID;
CREATE INDEX completion_by_prompt ON completion(prompt);

CREATE TABLE comparison (
    id TEXT PRIMARY KEY,
    prompt TEXT NOT NULL REFERENCES prompt(id),
    chosen TEXT NOT NULL REFERENCES completion(id),
    rejected TEXT NOT NULL REFERENCES completion(id),
    margin REAL,
    split TEXT,
    source TEXT NOT NULL,       -- file and line, or the run that made it
    added TEXT NOT NULL         -- ISO 8601
) WITHOUT ROWID;
CREATE INDEX comparison_by_prompt ON comparison(prompt);

-- log π_ref of a completion's tokens. Everything that decides its bits is in the key.
CREATE TABLE reference_log_prob (
    model TEXT NOT NULL,        -- content hash of weights and config
    precision TEXT NOT NULL,
    kernels TEXT NOT NULL,
    numerics INTEGER NOT NULL,
    tokens TEXT NOT NULL,       -- hash of prompt and completion ids
    log_probs BLOB NOT NULL,    -- Float64 per token, little-endian, nats
    PRIMARY KEY (model, precision, kernels, numerics, tokens)
) WITHOUT ROWID;

CREATE TABLE run (
    id TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    settings TEXT NOT NULL,     -- JSON
    directory TEXT NOT NULL,
    data_hash TEXT NOT NULL,
    model_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT
) WITHOUT ROWID;

CREATE TABLE run_parent (
    run TEXT NOT NULL REFERENCES run(id),
    parent TEXT NOT NULL REFERENCES run(id),
    PRIMARY KEY (run, parent)
) WITHOUT ROWID;

CREATE TABLE run_comparison (
    run TEXT NOT NULL REFERENCES run(id),
    comparison TEXT NOT NULL REFERENCES comparison(id),
    PRIMARY KEY (run, comparison)
) WITHOUT ROWID;
CREATE INDEX run_by_comparison ON run_comparison(comparison);
