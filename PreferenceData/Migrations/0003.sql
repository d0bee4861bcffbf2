-- Items that somebody has on the screen: others who label at the same time are shown something else.
CREATE TABLE reservation (
    item TEXT NOT NULL REFERENCES item(id),
    session TEXT NOT NULL,          -- a sitting: an annotator may have several
    annotator TEXT NOT NULL,
    expires TEXT NOT NULL,          -- ISO 8601, UTC, milliseconds: a killed process keeps nothing for longer
    PRIMARY KEY (item, session)
) WITHOUT ROWID;
CREATE INDEX reservation_by_session ON reservation(session);
