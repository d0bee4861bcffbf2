-- Votes, scores, labels, splits, and where everything came from.
--
-- Prompts, completions and comparisons begin anew: their ids now open with 16 digits of the prompt's, so that all that belongs to a prompt
-- lies together and rows arrive in the order of the index. No command of the builds
-- before this one wrote these three tables; the copy that is made before a migration keeps what another program may have put there.
DROP TABLE run_comparison;
DROP TABLE comparison;
DROP TABLE completion;
DROP TABLE prompt;

-- A file's bytes, a run, or a program: what rows came from.
CREATE TABLE source (
    id TEXT NOT NULL PRIMARY KEY,   -- SHA-256 of a file's bytes, or a run's id
    name TEXT NOT NULL,             -- its path, or what a person calls it
    added TEXT NOT NULL             -- ISO 8601
);

CREATE TABLE prompt (
    id TEXT NOT NULL PRIMARY KEY,   -- SHA-256 of content, and of kind and tools where they are not plain
    kind TEXT NOT NULL CHECK (kind IN ('none', 'text', 'messages', 'tokens', 'transcript')),
    content TEXT NOT NULL,          -- text, or JSON: messages, token ids
    tools TEXT                      -- JSON
);

CREATE TABLE completion (
    id TEXT NOT NULL PRIMARY KEY,   -- 16 digits of the prompt's id, 48 of the completion's own hash
    prompt TEXT NOT NULL REFERENCES prompt(id),
    kind TEXT NOT NULL CHECK (kind IN ('text', 'messages', 'tokens', 'transcript')),
    content TEXT NOT NULL
);

-- How a model came to say a completion; several may have said the same.
CREATE TABLE generation (
    id TEXT NOT NULL PRIMARY KEY,   -- hash of completion, model, run, version, seed, sampling
    completion TEXT NOT NULL REFERENCES completion(id),
    model TEXT NOT NULL,            -- content hash of weights and config, or a name where the weights are elsewhere
    run TEXT,
    version INTEGER,                -- optimizer steps that the policy had behind it
    seed INTEGER,
    sampling TEXT,                  -- JSON
    tokens BLOB,                    -- Int32, little-endian
    log_probs BLOB,                 -- Float64 per token, little-endian, nats, as sampled
    finish TEXT,                    -- 'stop', 'length', …
    time TEXT NOT NULL
);
CREATE INDEX generation_by_completion ON generation(completion);

CREATE TABLE comparison (
    id TEXT NOT NULL PRIMARY KEY,   -- 16 digits of the prompt's id, 48 of a hash of both completions' ids
    prompt TEXT NOT NULL REFERENCES prompt(id),
    chosen TEXT NOT NULL REFERENCES completion(id),
    rejected TEXT NOT NULL REFERENCES completion(id),
    margin REAL,
    origin TEXT NOT NULL CHECK (origin IN ('file', 'run', 'votes', 'scores')),
    source TEXT NOT NULL REFERENCES source(id),
    line INTEGER,                   -- of the file
    added TEXT NOT NULL
);

CREATE TABLE run_comparison (
    run TEXT NOT NULL REFERENCES run(id),
    comparison TEXT NOT NULL REFERENCES comparison(id),
    PRIMARY KEY (run, comparison)
) WITHOUT ROWID;
CREATE INDEX run_by_comparison ON run_comparison(comparison);

-- A completion to imitate.
CREATE TABLE example (
    id TEXT NOT NULL PRIMARY KEY,   -- hash of completion's id and loss mask
    completion TEXT NOT NULL REFERENCES completion(id),
    loss_mask BLOB,                 -- a byte a token, of token ids only
    source TEXT NOT NULL REFERENCES source(id),
    line INTEGER,
    added TEXT NOT NULL
);

-- Whether a completion is good, said of it alone (KTO).
CREATE TABLE label (
    id TEXT NOT NULL PRIMARY KEY,   -- hash of completion's id and label
    completion TEXT NOT NULL REFERENCES completion(id),
    label INTEGER NOT NULL CHECK (label IN (0, 1)),
    source TEXT NOT NULL REFERENCES source(id),
    line INTEGER,
    added TEXT NOT NULL
);

-- A prompt that somebody imported as such, and what its answer should come to, for verifiers.
CREATE TABLE task (
    prompt TEXT NOT NULL PRIMARY KEY REFERENCES prompt(id),
    answer TEXT,
    source TEXT NOT NULL REFERENCES source(id),
    line INTEGER,
    added TEXT NOT NULL
);

CREATE TABLE score (
    completion TEXT NOT NULL REFERENCES completion(id),
    reward TEXT NOT NULL,           -- as the command line names it
    reward_hash TEXT NOT NULL,      -- of its weights, program or settings
    run TEXT NOT NULL,              -- '' outside of a run
    value REAL NOT NULL,
    time TEXT NOT NULL,
    PRIMARY KEY (completion, reward, reward_hash, run)
) WITHOUT ROWID;

CREATE TABLE prompt_split (
    prompt TEXT NOT NULL PRIMARY KEY REFERENCES prompt(id),
    split TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX prompt_by_split ON prompt_split(split);

CREATE TABLE annotator (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('human', 'model', 'rule')),
    added TEXT NOT NULL
);

-- Completions of one prompt that are, or were, to be compared; their order says nothing.
CREATE TABLE item (
    id TEXT NOT NULL PRIMARY KEY,   -- 16 digits of the prompt's id, 48 of a hash of the completions' ids
    prompt TEXT NOT NULL REFERENCES prompt(id),
    completions TEXT NOT NULL,      -- JSON: ids, sorted
    source TEXT NOT NULL REFERENCES source(id),
    priority REAL NOT NULL,         -- higher is asked earlier
    added TEXT NOT NULL
);

-- Items whose answer is known: they measure annotators.
CREATE TABLE gold (
    item TEXT NOT NULL PRIMARY KEY REFERENCES item(id),
    expected TEXT NOT NULL,         -- an outcome, as in vote
    reason TEXT
) WITHOUT ROWID;

-- What annotators said: only appended. Undoing is itself a vote, which names the one it withdraws.
CREATE TABLE vote (
    id TEXT NOT NULL PRIMARY KEY,   -- hash of all other columns
    item TEXT NOT NULL REFERENCES item(id),
    annotator TEXT NOT NULL REFERENCES annotator(id),
    time TEXT NOT NULL,             -- ISO 8601, UTC, milliseconds
    outcome TEXT NOT NULL CHECK (outcome IN ('first', 'second', 'tie', 'both_bad', 'skip', 'ranking', 'withdrawal')),
    strength INTEGER CHECK (strength BETWEEN 1 AND 4),
    note TEXT,
    shown_first TEXT,               -- the completion on the left
    session TEXT,
    grades TEXT,                    -- JSON: of completions, one by one
    edited TEXT REFERENCES completion(id),  -- the better one, as the annotator would have it
    ranking TEXT,                   -- JSON: lists of ids, the best first; those of one list are tied
    withdraws TEXT REFERENCES vote(id),
    CHECK ((outcome = 'ranking') = (ranking IS NOT NULL) AND (outcome = 'withdrawal') = (withdraws IS NOT NULL))
);
CREATE INDEX vote_by_item ON vote(item);
CREATE TRIGGER vote_is_not_changed BEFORE UPDATE ON vote BEGIN SELECT RAISE(ABORT, 'votes are only appended'); END;
CREATE TRIGGER vote_is_not_deleted BEFORE DELETE ON vote BEGIN SELECT RAISE(ABORT, 'votes are only appended'); END;
