-- The columns and keys of the released tables: the table, and what the pragmas say of it.
nucleus_ledger_entry hash BLOB NOT NULL
nucleus_ledger_entry stream_id BIGINT NOT NULL
nucleus_ledger_entry sequence BIGINT NOT NULL
nucleus_ledger_entry record_id VARCHAR(200) NOT NULL
nucleus_ledger_entry timestamp BIGINT NOT NULL
nucleus_ledger_entry payload TEXT NOT NULL
nucleus_ledger_entry meta TEXT
nucleus_ledger_entry prev_hash BLOB
nucleus_ledger_entry serialized TEXT NOT NULL
nucleus_ledger_entry PRIMARY KEY (hash)
nucleus_ledger_entry FOREIGN KEY (stream_id) REFERENCES nucleus_ledger_stream(id)
nucleus_ledger_stream id INTEGER NOT NULL
nucleus_ledger_stream name VARCHAR(200) NOT NULL
nucleus_ledger_stream ledger VARCHAR(200) NOT NULL
nucleus_ledger_stream length BIGINT NOT NULL
nucleus_ledger_stream head_hash BLOB
nucleus_ledger_stream head_timestamp BIGINT
nucleus_ledger_stream PRIMARY KEY (id)
